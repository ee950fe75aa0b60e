package corpus

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kinds of entries.
const (
	Folder = 'd'
	File   = 'f'
	Link   = 'l'
	Char   = 'c'
	Block  = 'b'
	Fifo   = 'p'
	Socket = 's'
	Gone   = 'x' // only in what a case wants
)

// Entry is one name of a file system.
type Entry struct {
	Path         string // without a slash at its ends
	Kind         byte
	Mode         uint32
	UID, GID     int
	Content      []byte
	Any          bool   // wanted with any content
	Target       string // of a symbolic link
	Same         string // an earlier name of the same file
	Major, Minor int64
	Xattrs       map[string]string
	Time         int64
	Timed        bool // Time is known, or wanted
}

// ParseTree reads a tree, one entry a line.
func ParseTree(text string) ([]Entry, error) {
	var list []Entry
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		e, err := parseEntry(line)
		if err != nil {
			return nil, fmt.Errorf("tree line %q: %w", line, err)
		}
		list = append(list, e)
	}
	return list, nil
}

func parseEntry(line string) (Entry, error) {
	words, err := split(line)
	if err != nil {
		return Entry{}, err
	}
	name := unquote(words[0])
	e := Entry{Path: strings.Trim(name, "/"), Kind: File, Mode: 0o644}
	if strings.HasSuffix(name, "/") {
		e.Kind, e.Mode = Folder, 0o755
	}
	for i := 1; i < len(words); i++ {
		used, err := e.word(words[i:])
		if err != nil {
			return e, err
		}
		i += used
	}
	return e, nil
}

// word takes the first of the words, and says how many more it used.
func (e *Entry) word(words []string) (int, error) {
	w := words[0]
	if kind, ok := map[string]byte{"->": Link, "==": File, "char": Char, "block": Block}[w]; ok {
		if len(words) < 2 {
			return 0, fmt.Errorf("%s is not followed by anything", w)
		}
		e.Kind = kind
		return 1, e.link(w, unquote(words[1]))
	}
	if kind, ok := map[string]byte{"fifo": Fifo, "socket": Socket, "gone": Gone}[w]; ok {
		e.Kind = kind
		return 0, nil
	}
	if w[0] == '"' {
		e.Content = []byte(unquote(w))
		return 0, nil
	}
	if w == "*" {
		e.Any = true
		return 0, nil
	}
	if name, value, ok := strings.Cut(w, "="); ok {
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name] = unquote(value)
		return 0, nil
	}
	return 0, e.number(w)
}

func (e *Entry) link(word, rest string) (err error) {
	switch word {
	case "->":
		e.Target, e.Mode = rest, 0o777
	case "==":
		e.Same = strings.Trim(rest, "/")
	default:
		_, err = fmt.Sscanf(rest, "%d:%d", &e.Major, &e.Minor)
	}
	return err
}

// number takes a mode, an owner or a time.
func (e *Entry) number(w string) error {
	if at, ok := strings.CutPrefix(w, "@"); ok {
		n, err := strconv.ParseInt(at, 10, 64)
		e.Time, e.Timed = n, true
		return err
	}
	if strings.Contains(w, ":") {
		_, err := fmt.Sscanf(w, "%d:%d", &e.UID, &e.GID)
		return err
	}
	n, err := strconv.ParseUint(w, 8, 12)
	e.Mode = uint32(n)
	return err
}

// split cuts a line into words; what stands in quotes is not cut.
func split(line string) ([]string, error) {
	var words []string
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		end := 0
		for end < len(line) && line[end] != ' ' && line[end] != '\t' {
			if line[end] != '"' {
				end++
				continue
			}
			quoted, err := strconv.QuotedPrefix(line[end:])
			if err != nil {
				return nil, fmt.Errorf("a quote does not end: %s", line[end:])
			}
			end += len(quoted)
		}
		words, line = append(words, line[:end]), line[end:]
	}
	return words, nil
}

func unquote(w string) string {
	if s, err := strconv.Unquote(w); err == nil {
		return s
	}
	return w
}

// String writes the entry as a line of a tree, with all that is not plain.
func (e Entry) String() string {
	name := "/" + e.Path
	plain := uint32(0o644)
	if e.Kind == Folder {
		plain, name = 0o755, strings.TrimSuffix(name, "/")+"/"
	}
	if quoted := strconv.QuoteToGraphic(name); quoted != `"`+name+`"` || strings.Contains(name, " ") || !utf8.ValidString(name) {
		name = quoted
	}
	words := []string{name}
	if e.Mode != plain && e.Kind != Link && e.Kind != Gone && e.Same == "" {
		words = append(words, strconv.FormatUint(uint64(e.Mode), 8))
	}
	if (e.UID != 0 || e.GID != 0) && e.Same == "" {
		words = append(words, fmt.Sprintf("%d:%d", e.UID, e.GID))
	}
	words = append(words, e.what()...)
	for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
		words = append(words, k+"="+strconv.Quote(e.Xattrs[k]))
	}
	return strings.Join(words, " ")
}

func (e Entry) what() []string {
	switch {
	case e.Same != "":
		return []string{"==", "/" + e.Same}
	case e.Kind == File && e.Any:
		return []string{"*"}
	case e.Kind == File && len(e.Content) > 1000:
		return []string{fmt.Sprintf("%q… of %d bytes, sha256 %.8x", e.Content[:40], len(e.Content), sha256.Sum256(e.Content))}
	case e.Kind == File && len(e.Content) > 0:
		return []string{strconv.Quote(string(e.Content))}
	case e.Kind == Link:
		return []string{"->", e.Target}
	case e.Kind == Char || e.Kind == Block:
		return []string{map[byte]string{Char: "char", Block: "block"}[e.Kind], fmt.Sprintf("%d:%d", e.Major, e.Minor)}
	case e.Kind == Fifo || e.Kind == Socket || e.Kind == Gone:
		return []string{map[byte]string{Fifo: "fifo", Socket: "socket", Gone: "gone"}[e.Kind]}
	}
	return nil
}

// Equal compares two entries; times where e has one, and content unless e takes any.
func (e Entry) Equal(got Entry) bool {
	if e.Any || e.Same != "" {
		got.Any, e.Any, got.Content, e.Content = true, true, nil, nil
	}
	return e.String() == got.String() && string(e.Content) == string(got.Content) && (!e.Timed || e.Time == got.Time)
}
