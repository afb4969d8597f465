package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"
)

// A segment is a header followed by frames, one for each record. All numbers
// are little endian:
//
//	8 bytes   magic and version
//	8 bytes   salt, random
//	8 bytes   number of the first record
//	4 bytes   CRC-32C of these
//	4 bytes   zero
//	32 bytes  the same again, in case that the first is damaged
//
//	4 bytes   length of the record
//	4 bytes   CRC-32C of the salt, the length, the number and the record
//	8 bytes   number of the record, ascending by one from frame to frame
//	n bytes   the record
//
// Records contain names that callers choose. The salt prevents callers from
// crafting a name that would pass as a frame after a corrupt one.
const (
	magic      = "pgjrnl\x00\x01" // the last byte is the version
	copySize   = 32
	headerSize = 2 * copySize
	frameSize  = 16 // without the record

	// MaxRecord is the length of the longest record, in bytes.
	MaxRecord = 64 << 10

	suffix = ".journal"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrNewer is wrapped by the error of Open for a journal of a newer version.
var ErrNewer = errors.New("the journal was written by a newer version")

var errNoHeader = errors.New("its header is damaged")

// newSalt returns the salt of a segment.
func newSalt() (salt [8]byte) {
	_, _ = rand.Read(salt[:]) // never fails
	return salt
}

func appendHeader(b []byte, salt [8]byte, first uint64) []byte {
	for range 2 {
		start := len(b)
		b = append(b, magic...)
		b = append(b, salt[:]...)
		b = binary.LittleEndian.AppendUint64(b, first)
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
		b = binary.LittleEndian.AppendUint32(b, 0)
	}
	return b
}

// readHeader returns the salt of a segment, from either copy of its header.
func readHeader(data []byte) (salt [8]byte, err error) {
	for at := 0; at+copySize <= min(len(data), headerSize); at += copySize {
		head := data[at : at+copySize]
		if crc32.Checksum(head[:24], castagnoli) != binary.LittleEndian.Uint32(head[24:]) {
			continue
		}
		version := len(magic) - 1
		if !bytes.Equal(head[:version], []byte(magic[:version])) {
			continue
		}
		if head[version] > magic[version] {
			return salt, ErrNewer
		}
		return [8]byte(head[8:16]), nil
	}
	return salt, errNoHeader
}

// sum returns the checksum of a frame: all of its bytes except the sum itself,
// seeded with the checksum of the salt.
func sum(salt uint32, head, record []byte) uint32 {
	c := crc32.Update(salt, castagnoli, head[:4])
	c = crc32.Update(c, castagnoli, head[8:frameSize])
	return crc32.Update(c, castagnoli, record)
}

func appendFrame(b []byte, salt uint32, number uint64, record []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(record)))
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = append(b, record...)
	head := b[start : start+frameSize]
	binary.LittleEndian.PutUint32(head[4:], sum(salt, head, record))
	return b
}

// readFrame reads the frame at the beginning of data.
func readFrame(data []byte, salt uint32) (number uint64, record []byte, ok bool) {
	if len(data) < frameSize {
		return 0, nil, false
	}
	n := int64(binary.LittleEndian.Uint32(data))
	if n == 0 || n > MaxRecord || frameSize+n > int64(len(data)) {
		return 0, nil, false
	}
	record = data[frameSize : frameSize+n]
	if sum(salt, data, record) != binary.LittleEndian.Uint32(data[4:]) {
		return 0, nil, false
	}
	return binary.LittleEndian.Uint64(data[8:]), record, true
}

// scan calls f with each valid record of a segment, and bad with each
// unreadable part: from is its offset, and to the offset of the next valid
// frame, or the length of the segment if there is none. It stops at the first
// error of f.
func scan(data []byte, f func(number uint64, record []byte) error, bad func(from, to int)) error {
	header, err := readHeader(data)
	if errors.Is(err, errNoHeader) {
		bad(0, len(data))
		return nil
	}
	if err != nil {
		return err
	}
	salt := crc32.Checksum(header[:], castagnoli)
	for at := headerSize; at < len(data); {
		number, record, ok := readFrame(data[at:], salt)
		if ok {
			if err := f(number, record); err != nil {
				return err
			}
			at += frameSize + len(record)
			continue
		}
		from := at
		for at++; at < len(data) && !ok; at++ {
			if _, _, ok = readFrame(data[at:], salt); ok {
				break
			}
		}
		bad(from, at)
	}
	return nil
}

// segmentName returns the path of a segment, whose name is the number of its
// first record, so that names sort by it. try is above 0 if other segments
// have this name; these hold no valid record.
func segmentName(dir string, first uint64, try int) string {
	name := fmt.Sprintf("%020d", first)
	if try > 0 {
		name += fmt.Sprintf("-%03d", try)
	}
	return filepath.Join(dir, name+suffix)
}

// isSegment reports whether name may be the name of a segment.
func isSegment(name string) bool {
	stem, ok := strings.CutSuffix(name, suffix)
	if !ok || len(stem) < 20 {
		return false
	}
	_, err := strconv.ParseUint(stem[:20], 10, 64)
	return err == nil && (len(stem) == 20 || stem[20] == '-')
}

// firstOf returns the record number in the name of a segment.
func firstOf(name string) uint64 {
	first, _ := strconv.ParseUint(name[:20], 10, 64) // isSegment has checked the name
	return first
}
