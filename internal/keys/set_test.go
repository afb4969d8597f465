package keys

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// setOf returns a set of keys with one secret each, whose ids are the secrets.
func setOf(t testing.TB, ids ...string) *Set {
	t.Helper()
	var keys []*Key
	var entries []entry
	for _, id := range ids {
		k := &Key{ID: id}
		keys = append(keys, k)
		entries = append(entries, entry{HashSecret(id), k})
	}
	r, err := newSet(keys, entries, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEmptyRingKnowsNobody(t *testing.T) {
	r := setOf(t)
	for _, h := range []Hash{{}, {0xff, 0xff, 0xff, 0xff}, HashSecret("x")} {
		if r.Lookup(h) != nil || r.Admin(h) {
			t.Errorf("%v is known", h)
		}
	}
	if r.ByID("") != nil || r.Len() != 0 || r.HasAdmin() {
		t.Error("an empty set holds something")
	}
}

func TestSetAgreesWithAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Few distinct leading bits, so that hashes collide, also at the end of the
		// table.
		hashes := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Hash {
			var h Hash
			h[0] = rapid.SampledFrom([]byte{0, 1, 0x7f, 0x80, 0xff}).Draw(t, "first")
			h[31] = rapid.Byte().Draw(t, "last")
			return h
		}), 0, 40, func(h Hash) Hash { return h }).Draw(t, "hashes")
		known := make(map[Hash]*Key)
		var keys []*Key
		var entries []entry
		for i, h := range hashes {
			if i%3 == 0 || len(keys) == 0 {
				keys = append(keys, &Key{ID: fmt.Sprint("key", i)})
			}
			known[h] = keys[len(keys)-1]
			entries = append(entries, entry{h, keys[len(keys)-1]})
		}
		ids := slices.Clone(keys)
		r, err := newSet(keys, entries, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, first := range []byte{0, 1, 2, 0x7f, 0x80, 0xfe, 0xff} {
			for last := range 256 {
				h := Hash{0: first, 31: byte(last)}
				if got := r.Lookup(h); got != known[h] {
					t.Fatalf("Lookup(%v) = %v, want %v", h, got, known[h])
				}
			}
		}
		for _, k := range ids {
			if r.ByID(k.ID) != k {
				t.Fatalf("ByID(%s) = %v", k.ID, r.ByID(k.ID))
			}
		}
		if r.ByID("key") != nil || r.ByID("zzz") != nil || r.Len() != len(ids) {
			t.Fatal("the set holds what it was not given")
		}
	})
}

func TestAllIsInTheOrderOfIDs(t *testing.T) {
	r := setOf(t, "b", "a", "C")
	var ids []string
	for k := range r.All() {
		ids = append(ids, k.ID)
	}
	if !slices.Equal(ids, []string{"C", "a", "b"}) {
		t.Errorf("order: %q", ids)
	}
}

func TestSetRefusesWhatIsAmbiguous(t *testing.T) {
	a, b, again := &Key{ID: "a"}, &Key{ID: "b"}, &Key{ID: "a"}
	one, two := HashSecret("1"), HashSecret("2")
	for name, c := range map[string]struct {
		keys    []*Key
		entries []entry
		admin   []Hash
		want    string
	}{
		"id twice":           {[]*Key{a, b, again}, []entry{{one, a}, {two, again}}, nil, `key "a" is defined twice`},
		"secret of two":      {[]*Key{a, b}, []entry{{one, a}, {two, a}, {one, b}}, nil, `keys "a" and "b" have a secret in common`},
		"secret of an admin": {[]*Key{a, b}, []entry{{one, a}, {two, b}}, []Hash{HashSecret("3"), two}, `key "b" has a secret in common with an admin key`},
	} {
		if _, err := newSet(c.keys, c.entries, c.admin); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	r, err := newSet([]*Key{a}, []entry{{one, a}, {one, a}, {two, a}}, nil)
	if err != nil || r.Lookup(one) != a || r.Lookup(two) != a {
		t.Errorf("one secret twice in a key: %v", err)
	}
}

func TestAdminKnowsItsSecretsOnly(t *testing.T) {
	k := &Key{ID: "k"}
	r, err := newSet([]*Key{k}, []entry{{HashSecret("k"), k}}, []Hash{HashSecret("1"), HashSecret("2")})
	if err != nil {
		t.Fatal(err)
	}
	for secret, want := range map[string]bool{"1": true, "2": true, "k": false, "": false} {
		if r.Admin(HashSecret(secret)) != want {
			t.Errorf("admin %q: %t", secret, !want)
		}
	}
	if r.Lookup(HashSecret("1")) != nil || !r.HasAdmin() {
		t.Error("an admin key is a caller's key")
	}
}

func TestTheStoredHashIsNoKey(t *testing.T) {
	r := setOf(t, clearSecret)
	stored := HashSecret(clearSecret)
	for _, presented := range []string{stored.String(), strings.TrimPrefix(stored.String(), "sha256:"), string(stored[:])} {
		if r.Lookup(HashSecret(presented)) != nil {
			t.Errorf("%q opens the gate", presented)
		}
	}
}

// manyKeys writes a keys file of n keys, each with a secret and a limit.
func manyKeys(n int) []byte {
	var b strings.Builder
	b.WriteString("[")
	for i := range n {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, `{"id":"key-%07d","team":"team-%03d","secrets":["%s"],"limits":["60 requests/minute"]}`, i, i%1000, benchHash(i))
	}
	b.WriteString("]")
	return []byte(b.String())
}

func benchHash(i int) Hash {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

// BenchmarkMillionKeys looks up keys of a set of a million, of which 10,000 are in
// use. It reports how long reading them takes at the start, and the memory of an
// idle key, including what the store keeps for the next read.
func BenchmarkMillionKeys(b *testing.B) {
	const n = 1_000_000
	content := manyKeys(n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	s := &Store{secrets: make(map[string]*secret)}
	set, err := parseFile(content)
	if err != nil {
		b.Fatal(err)
	}
	s.sources = []*source{{slot: slot[*sourceSet]{current: set}}}
	built, err := s.build()
	if err != nil {
		b.Fatal(err)
	}
	start := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)

	hashes := make([]Hash, 10_000)
	for i := range hashes {
		hashes[i] = benchHash(i * 97)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if built.Lookup(hashes[i]) == nil {
			b.Fatal("not found")
		}
		if i++; i == len(hashes) {
			i = 0
		}
	}
	b.ReportMetric(start.Seconds(), "s/start")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/key")
	runtime.KeepAlive(s)
	runtime.KeepAlive(content)
}

func BenchmarkByID(b *testing.B) {
	ids := make([]string, 10_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("key-%07d", i)
	}
	r := setOf(b, ids...)
	for b.Loop() {
		r.ByID("key-0007777")
	}
}
