package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Error is a mistake in a recipe. Error returns one line; Excerpt the lines around it.
type Error struct {
	Name string // the recipe's name as the user gave it
	Line int    // first line, from 1; 0 when the whole file is meant
	Last int    // last line
	Err  error
	text []byte // of the recipe
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.Name, e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Excerpt returns the lines of the mistake and those around it, for a person to read: its own are marked, and a mistake
// of one line has a caret under the word that it is about. It is empty when the mistake has no line.
func (e *Error) Excerpt() string {
	source := line(e.text, e.Line)
	if e.Line == 0 || source == "" {
		return ""
	}
	last, end := max(e.Line, e.Last), bytes.Count(bytes.TrimRight(e.text, "\n"), []byte("\n"))+1
	var b strings.Builder
	for n := max(1, e.Line-around); n <= min(end, last+around); n++ {
		mark := "   "
		if n >= e.Line && n <= last {
			mark = ">>>"
		}
		if n > e.Line+longest && n < last-longest {
			if n == e.Line+longest+1 {
				fmt.Fprintf(&b, "%5s | %s\n", "", mark)
			}
			continue
		}
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%5d | %s %s", n, mark, clip(line(e.text, n))), " "))
		if e.Line == last && n == last {
			b.WriteString(e.caret(source))
		}
	}
	return b.String()
}

// Excerpt returns the lines that a warning is about and those around them, as those of an Error.
func (r *Recipe) Excerpt(w Warning) string {
	return (&Error{Line: w.Line, Last: w.Last, Err: errors.New(w.Message), text: r.text}).Excerpt()
}

const (
	around  = 2 // lines of the recipe that are shown before and after a mistake
	longest = 8 // lines at each end of a long instruction that are shown
)

// caret is the line that points at the culprit in the one above it.
func (e *Error) caret(source string) string {
	at, length := e.culprit(source)
	under := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, clip(source[:at]))
	return fmt.Sprintf("%5s |     %s^%s\n", "", under, strings.Repeat("~", min(length, 40)-min(length, 1)))
}

// culprit is the word of the line that the message ends with, or has in quotes, else the line's first.
func (e *Error) culprit(source string) (at, length int) {
	message := e.Err.Error()
	if i := strings.LastIndex(message, ": "); i >= 0 {
		message = message[i+2:]
	}
	last, _, _ := strings.Cut(message, " ")
	words := []string{strings.Trim(last, "\"',()")}
	for i, quoted := range strings.Split(e.Err.Error(), `"`) {
		if i%2 == 1 {
			words = append(words, quoted, strings.TrimPrefix(quoted, "/"))
		}
	}
	for _, w := range words {
		if i := strings.Index(source, w); len(w) >= 3 && i >= 0 && i+len(w) <= maxExcerpt {
			return i, len(w)
		}
	}
	word := strings.TrimLeft(source, " \t")
	at = len(source) - len(word)
	if i := strings.IndexAny(word, " \t"); i > 0 {
		word = word[:i]
	}
	return min(at, maxExcerpt), len(word)
}

// maxExcerpt is how much of a line is printed.
const maxExcerpt = 200

// clip bounds what one line of a recipe may write on a terminal, and takes control characters out of it.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxExcerpt {
		return strings.ToValidUTF8(s[:maxExcerpt], "") + "…"
	}
	return s
}

// At gives err a place in a recipe. The place that was given first, the innermost, is kept.
func At(err error, ranges []Range) error {
	var located *parser.LocationError
	if err == nil || errors.As(err, &located) || len(ranges) == 0 {
		return err
	}
	return parser.WithLocation(err, ranges)
}

// Wrap makes an [*Error] of err, with the place that err carries and this recipe's name and text. It returns nil
// for nil and an *Error as it is.
func (r *Recipe) Wrap(err error) error {
	var done *Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	e := &Error{Name: r.Name, Err: plain(err), text: r.text}
	var located *parser.LocationError
	if errors.As(err, &located) && len(located.Locations) > 0 {
		e.Line, e.Last = Lines(located.Locations[0])
	}
	return e
}

// plain strips the wrapping that says a line number in words of its own.
func plain(err error) error {
	for {
		if !strings.HasPrefix(err.Error(), "dockerfile parse error on line ") {
			return err
		}
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
