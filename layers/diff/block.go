package diff

import (
	"archive/tar"
	"strconv"
	"strings"
)

// fields are what a ustar header says.
type fields struct {
	name, link     string
	kind           byte
	mode, uid, gid int64
	size, mtime    int64
	major, minor   int64
}

// block is the header in 512 bytes. Names that do not fit are cut: a PAX record says them whole.
func (f fields) block() []byte { return f.append(nil) }

// append adds the header's block to a buffer.
func (f fields) append(to []byte) []byte {
	to = append(to, zeros[:512]...)
	b := to[len(to)-512:]
	copy(b[0:100], ascii(f.name))
	octal(b[100:108], f.mode)
	octal(b[108:116], f.uid)
	octal(b[116:124], f.gid)
	octal(b[124:136], f.size)
	octal(b[136:148], f.mtime)
	copy(b[148:156], "        ")
	b[156] = f.kind
	copy(b[157:257], ascii(f.link))
	copy(b[257:265], "ustar\x0000")
	if f.kind == tar.TypeChar || f.kind == tar.TypeBlock {
		octal(b[329:337], f.major)
		octal(b[337:345], f.minor)
	} else {
		octal(b[329:337], 0)
		octal(b[337:345], 0)
	}
	var sum int64
	for _, c := range b {
		sum += int64(c)
	}
	octal(b[148:155], sum)
	b[155] = ' '
	return to
}

// octal writes digits up to the last byte, which stays zero.
func octal(b []byte, v int64) {
	for i := len(b) - 2; i >= 0; i-- {
		b[i] = byte('0' + v&7)
		v >>= 3
	}
	b[len(b)-1] = 0
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 || s[i] == 0 {
			return false
		}
	}
	return true
}

func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '_'
		}
		return r
	}, s)
}

// paxRecord is "length key=value\n", where the length counts its own digits.
func paxRecord(k, v string) string {
	body := " " + k + "=" + v + "\n"
	n := len(body)
	for {
		s := strconv.Itoa(n)
		if len(s)+len(body) == n {
			return s + body
		}
		n = len(s) + len(body)
	}
}

func validKey(k string) bool { return k != "" && !strings.ContainsAny(k, "=\x00") }

// compareRecords orders records by their keys.
func compareRecords(a, b string) int {
	_, a, _ = strings.Cut(a, " ")
	_, b, _ = strings.Cut(b, " ")
	return strings.Compare(a, b)
}
