package progress

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/clipperhouse/displaywidth"
)

// clean makes a line of foreign output harmless: what a carriage return would
// have overwritten is gone, escape sequences too, and what could still steer a
// terminal or turn the order of letters is the replacement character.
func clean(s string) string {
	s = strings.TrimRight(s, "\r\n")
	if i := strings.LastIndexByte(s, '\r'); i >= 0 {
		s = s[i+1:]
	}
	return Printable(stripEscapes(s))
}

// Printable replaces the characters of s that are none, but tabs and newlines.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || turns(r)) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// turns says whether a character changes the direction of those behind it
// (Unicode Standard Annex 9; CVE-2021-42574).
func turns(r rune) bool { return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 }

// stripEscapes takes the escape sequences of ECMA-48 out of s.
func stripEscapes(s string) string {
	if strings.IndexByte(s, 0x1b) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		i := strings.IndexByte(s, 0x1b)
		if i < 0 {
			break
		}
		b.WriteString(s[:i])
		s = s[i+sequence(s[i:]):]
	}
	b.WriteString(s)
	return b.String()
}

// sequence is the length of the escape sequence with which s begins.
func sequence(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	switch s[1] {
	case '[': // CSI: parameters, then one final byte
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
		}
		return len(s)
	case ']', 'P', 'X', '^', '_': // strings, up to BEL or ST
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b {
				return min(i+2, len(s))
			}
		}
		return len(s)
	}
	for i := 1; i < len(s); i++ { // intermediates, then one final byte
		if s[i] < 0x20 || s[i] > 0x2f {
			return i + 1
		}
	}
	return len(s)
}

// fit makes a text of one line exactly as wide as it may be, or shorter.
func fit(s string, width int) string {
	if width <= 0 {
		return ""
	}
	s = strings.NewReplacer("\n", " ", "\t", "    ").Replace(s)
	return displaywidth.TruncateString(s, width, "…")
}

// pad makes a text exactly width columns wide.
func pad(s string, width int) string {
	s = fit(s, width)
	return s + strings.Repeat(" ", max(0, width-displaywidth.String(s)))
}

// Seconds writes a duration as people read it: 0.1s, 59.9s, 2m05s, 1h02m.
func Seconds(d time.Duration) string {
	switch {
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1fs", max(0, d.Seconds()))
	case d.Round(time.Second) < time.Hour:
		s := int(d.Round(time.Second).Seconds())
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	}
	m := int(d.Round(time.Second).Minutes())
	return fmt.Sprintf("%dh%02dm", m/60, m%60)
}

// Size writes bytes as Docker does: three digits, powers of ten.
func Size(n int64) string {
	size, unit := float64(n), 0
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	for size >= 1000 && unit < len(units)-1 {
		size, unit = size/1000, unit+1
	}
	return fmt.Sprintf("%.3g%s", size, units[unit])
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
