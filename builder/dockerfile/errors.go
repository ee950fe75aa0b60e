package dockerfile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Error is a mistake in a recipe. Error returns one line; Excerpt the lines around it.
type Error struct {
	Name   string // the recipe's name as the user gave it
	Line   int    // first line, from 1; 0 when the whole file is meant
	Last   int    // last line
	Source string // the recipe's line
	Err    error
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.Name, e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Excerpt returns the line of the mistake with a caret under the word that it is about, for a person to read; empty
// when the mistake has no line.
func (e *Error) Excerpt() string {
	if e.Line == 0 || e.Source == "" {
		return ""
	}
	at, length := e.culprit()
	under := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, clip(e.Source[:at]))
	prefix := fmt.Sprintf("%5d | ", e.Line)
	return prefix + clip(e.Source) + "\n" + strings.Repeat(" ", len(prefix)-2) + "| " + under + "^" +
		strings.Repeat("~", min(length, 40)-min(length, 1)) + "\n"
}

// culprit is the word of the line that the message ends with, else the line's first.
func (e *Error) culprit() (at, length int) {
	message := e.Err.Error()
	if i := strings.LastIndex(message, ": "); i >= 0 {
		message = message[i+2:]
	}
	last, _, _ := strings.Cut(message, " ")
	last = strings.Trim(last, "\"',()")
	if i := strings.Index(e.Source, last); len(last) >= 3 && i >= 0 && i+len(last) <= maxExcerpt {
		return i, len(last)
	}
	word := strings.TrimLeft(e.Source, " \t")
	at = len(e.Source) - len(word)
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
		if r != '\t' && (r < ' ' || r == 0x7f) {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxExcerpt {
		return s[:maxExcerpt] + "…"
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
	e := &Error{Name: r.Name, Err: plain(err)}
	var located *parser.LocationError
	if errors.As(err, &located) && len(located.Locations) > 0 {
		e.Line, e.Last = Lines(located.Locations[0])
		e.Source = r.Line(e.Line)
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
