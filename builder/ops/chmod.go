package ops

import (
	"fmt"
	"strconv"
	"strings"
)

// chmod is a compiled --chmod: a number for everything, or symbolic clauses as chmod(1) has them, without a umask.
type chmod struct {
	number  *uint32
	clauses []clause
}

// clause is one change: of whose bits, how, and to what.
type clause struct {
	who  string // of "ugo"
	op   byte   // + - =
	perm string // of "rwxXst", or one of "ugo"
}

func parseChmod(spec string) (*chmod, error) {
	if spec == "" {
		return nil, nil
	}
	if n, err := strconv.ParseUint(spec, 8, 32); err == nil && n <= 0o7777 {
		m := uint32(n)
		return &chmod{number: &m}, nil
	}
	if spec[0] >= '0' && spec[0] <= '9' {
		return nil, fmt.Errorf("invalid chmod parameter: '%s'. it should be octal string and between 0 and 07777", spec)
	}
	c := &chmod{}
	for part := range strings.SplitSeq(spec, ",") {
		if err := c.parse(part); err != nil {
			return nil, fmt.Errorf("invalid chmod parameter: '%s': %w", spec, err)
		}
	}
	return c, nil
}

func (c *chmod) parse(part string) error {
	rest := strings.TrimLeft(part, "ugoa")
	who := part[:len(part)-len(rest)]
	if who == "" || strings.Contains(who, "a") {
		who = "ugo"
	}
	if rest == "" {
		return fmt.Errorf("%q has no + - or =", part)
	}
	for rest != "" {
		op := rest[0]
		if !strings.ContainsRune("+-=", rune(op)) {
			return fmt.Errorf("%q is no permission", rest)
		}
		n := strings.IndexAny(rest[1:], "+-=")
		perm := rest[1:]
		if n >= 0 {
			perm = rest[1 : 1+n]
		}
		rest = rest[1+len(perm):]
		copies := len(perm) == 1 && strings.Contains("ugo", perm)
		if !copies && strings.Trim(perm, "rwxXst") != "" {
			return fmt.Errorf("%q is no permission", perm)
		}
		c.clauses = append(c.clauses, clause{who, op, perm})
	}
	return nil
}

var shifts = map[byte]uint{'u': 6, 'g': 3, 'o': 0}

// apply gives the new mode of an entry.
func (c *chmod) apply(mode uint32, dir bool) uint32 {
	if c == nil {
		return mode
	}
	if c.number != nil {
		return *c.number
	}
	before := mode
	for _, cl := range c.clauses {
		mode = cl.apply(mode, dir || before&0o111 != 0)
	}
	return mode
}

func (cl clause) apply(mode uint32, execute bool) uint32 {
	var set, clear uint32
	for _, w := range []byte(cl.who) {
		shift := shifts[w]
		set |= cl.bits(mode, execute) << shift
		clear |= 7 << shift
		special := map[byte]uint32{'u': 0o4000, 'g': 0o2000, 'o': 0}[w]
		if strings.Contains(cl.perm, "s") {
			set |= special
		}
		clear |= special
	}
	if strings.Contains(cl.perm, "t") && strings.Contains(cl.who, "o") {
		set |= 0o1000
	}
	switch cl.op {
	case '+':
		return mode | set
	case '-':
		return mode &^ set
	default:
		return mode&^clear | set
	}
}

// bits are the three permission bits that the clause speaks of.
func (cl clause) bits(mode uint32, execute bool) uint32 {
	if len(cl.perm) == 1 && strings.Contains("ugo", cl.perm) {
		return mode >> shifts[cl.perm[0]] & 7
	}
	var b uint32
	for _, p := range cl.perm {
		switch {
		case p == 'r':
			b |= 4
		case p == 'w':
			b |= 2
		case p == 'x', p == 'X' && execute:
			b |= 1
		}
	}
	return b
}
