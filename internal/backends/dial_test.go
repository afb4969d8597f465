package backends

import (
	"net/netip"
	"strings"
	"testing"
)

func TestDialPolicyJudgesEverySpelling(t *testing.T) {
	policies := map[string]DialPolicy{
		"default":  mustPolicy(t),
		"public":   mustPolicy(t, "public"),
		"private":  mustPolicy(t, "private"),
		"loopback": mustPolicy(t, "loopback"),
		"10/8":     mustPolicy(t, "10.0.0.0/8"),
		"all":      mustPolicy(t, "0.0.0.0/0", "::/0"),
	}
	for _, c := range []struct{ addr, allowed string }{
		{"8.8.8.8", "default public all"},
		{"2606:4700::1111", "default public all"},
		{"10.1.2.3", "default private 10/8 all"},
		{"172.31.0.1", "default private all"},
		{"192.168.1.1", "default private all"},
		{"100.64.0.1", "default private all"},
		{"fd12::1", "default private all"},
		{"127.0.0.1", "default loopback all"},
		{"127.9.9.9", "default loopback all"},
		{"::1", "default loopback all"},
		{"192.0.2.1", "default all"}, // documentation
		{"2001:db8::1", "default all"},
		{"240.0.0.1", "default all"},

		{"169.254.1.1", "all"},
		{"fe80::1", "all"},
		{"fe80::1%eth0", "all"},
		{"169.254.169.254", ""},
		{"fd00:ec2::254", ""},
		{"100.100.100.200", ""},
		{"168.63.129.16", ""},
		{"0.0.0.0", ""},
		{"::", ""},
		{"224.0.0.1", ""},
		{"ff02::1", ""},
		{"255.255.255.255", ""},

		// Mapped, compatible, translated.
		{"::ffff:8.8.8.8", "default public all"},
		{"::ffff:10.1.2.3", "default private 10/8 all"},
		{"::ffff:169.254.169.254", ""},
		{"::ffff:169.254.1.1", "all"},
		{"::169.254.169.254", ""},
		{"::127.0.0.1", "default loopback all"},
		{"::ffff:0:169.254.169.254", ""},
		{"::ffff:0:8.8.8.8", "default public all"},

		// NAT64, whose local prefix can be of any length.
		{"64:ff9b::8.8.8.8", "default public all"},
		{"64:ff9b::10.1.2.3", "default private 10/8 all"},
		{"64:ff9b::169.254.169.254", ""},
		{"64:ff9b:1::169.254.169.254", ""},
		{"64:ff9b:1:a9fe:a9:fe00::", ""},
		{"64:ff9b:1:a9:fe:a9fe::", ""},
		{"64:ff9b:1:0:a9:fea9:fe00::", ""},
		{"64:ff9b:1::8.8.8.8", "default public all"},

		// 6to4, Teredo (server, then client inverted), ISATAP.
		{"2002:a9fe:a9fe::1", ""},
		{"2002:808:808::1", "default public all"},
		{"2002:a01:203::1", "default private 10/8 all"},
		{"2001:0:a9fe:a9fe::1", ""},
		{"2001:0:808:808::5601:5601", ""},
		{"2001:0:808:808::f7f7:f7f7", "default public all"},
		{"2606:4700::5efe:a9fe:a9fe", ""},
		{"2606:4700::200:5efe:a9fe:a9fe", ""},
		{"2606:4700::5efe:a01:203", "default all"},
	} {
		for name, policy := range policies {
			want := strings.Contains(" "+c.allowed+" ", " "+name+" ")
			err := policy.Check(netip.MustParseAddr(c.addr))
			if (err == nil) != want {
				t.Errorf("policy %s, address %s: %v, want allowed: %v", name, c.addr, err, want)
			}
			if err != nil && strings.Contains(err.Error(), c.addr) {
				t.Errorf("the error tells the address: %v", err)
			}
		}
	}
}

func TestDialPolicyTakesWhatIsNamedExactly(t *testing.T) {
	p := mustPolicy(t, "169.254.169.254", "fd00:ec2::254", "10.0.0.0/8")
	for addr, want := range map[string]bool{
		"169.254.169.254": true, "::ffff:169.254.169.254": true, "fd00:ec2::254": true, "10.0.0.1": true,
		"169.254.169.253": false, "fd00:ec2::253": false, "8.8.8.8": false,
	} {
		if err := p.Check(netip.MustParseAddr(addr)); (err == nil) != want {
			t.Errorf("%s: %v, want allowed: %v", addr, err, want)
		}
	}
}

func TestCheckUpstream(t *testing.T) {
	for _, c := range []struct{ dial, policy, want string }{
		{"api.openai.com:443", "", ""},
		{"localhost:11434", "", ""},
		{"10.0.0.7:8000", "", ""},
		{"[::1]:8000", "", ""},
		{"unix//run/vllm.sock", "public", ""},
		{"{env.UPSTREAM}:80", "public", ""},
		{"gpu1.0x.example:80", "", ""},
		{"169.254.169.254:80", "", "outside dial_allow"},
		{"[::ffff:169.254.169.254]:80", "", "outside dial_allow"},
		{"[64:ff9b::a9fe:a9fe]:80", "", "outside dial_allow"},
		{"[fe80::1%25eth0]:80", "", "outside dial_allow"},
		{"[fd00:ec2::254]:80", "", "outside dial_allow"},
		{"0.0.0.0:80", "", "outside dial_allow"},
		{"127.0.0.1:80", "public", "outside dial_allow (public)"},
		{"127.0.0.1.:80", "public", "outside dial_allow"},
		{"2130706433:80", "loopback", "four decimal numbers"},
		{"0177.0.0.1:80", "loopback", "four decimal numbers"},
		{"127.1:80", "loopback", "four decimal numbers"},
		{"0x7f000001:80", "", "four decimal numbers"},
		{"0x7f.0.0.0X1:80", "", "four decimal numbers"},
		{"169.254.43518:80", "", "four decimal numbers"},
		{"256.256.256.256:80", "", "four decimal numbers"},
		{"127.1.:80", "", "four decimal numbers"},
	} {
		err := mustPolicy(t, strings.Fields(c.policy)...).CheckUpstream(c.dial)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.dial, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.dial, err, c.want)
		}
	}
}

func TestParseDialAllowRefuses(t *testing.T) {
	for _, word := range []string{"", "internet", "10.0.0.0/33", "0177.0.0.1", "2130706433", "fe80::1%eth0", "::ffff:0:0/64", "::ffff:1.2.3.4/64", "a.example"} {
		if _, err := ParseDialAllow([]string{"public", word}); err == nil {
			t.Errorf("%q was taken", word)
		}
	}
	mapped := mustPolicy(t, "::ffff:10.0.0.0/104")
	if mapped.Check(netip.MustParseAddr("10.9.9.9")) != nil || mapped.Check(netip.MustParseAddr("11.0.0.1")) == nil {
		t.Error("a mapped CIDR is not that of the IPv4 addresses")
	}
}

func mustPolicy(t *testing.T, words ...string) DialPolicy {
	t.Helper()
	p, err := ParseDialAllow(words)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
