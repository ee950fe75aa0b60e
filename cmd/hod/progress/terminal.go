package progress

import (
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// terminal is a screen that can be drawn on again.
type terminal struct{ f *os.File }

// terminalOf gives the terminal that w writes to, nil when there is none.
func terminalOf(w io.Writer) *terminal {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err != nil {
		return nil
	}
	return &terminal{f}
}

// size is how many columns and lines there are now.
func (t *terminal) size() (columns, lines int) {
	w, err := unix.IoctlGetWinsize(int(t.f.Fd()), unix.TIOCGWINSZ)
	if err != nil || w.Col == 0 || w.Row == 0 {
		return 80, 24
	}
	return int(w.Col), int(w.Row)
}

// style is how a live view looks.
type style struct {
	color                                 bool
	spin                                  []string
	ok, cached, failed, more, full, empty string
}

var unicodeStyle = style{spin: []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"},
	ok: "✓", cached: "=", failed: "✗", more: "│", full: "━", empty: "─"}

var asciiStyle = style{spin: []string{"|", "/", "-", "\\"}, ok: "+", cached: "=", failed: "x", more: "|", full: "#", empty: "-"}

// styleOf reads what the user's environment wants: no colours with NO_COLOR, no
// other letters than ASCII on the kernel's console or in a locale without them.
func styleOf(getenv func(string) string) style {
	s := unicodeStyle
	locale := ""
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale = getenv(name); locale != "" {
			break
		}
	}
	utf8 := locale == "" || strings.Contains(strings.ToLower(strings.ReplaceAll(locale, "-", "")), "utf8")
	if !utf8 || getenv("TERM") == "linux" {
		s = asciiStyle
	}
	s.color = getenv("NO_COLOR") == ""
	return s
}

// The colours, as parameters of "select graphic rendition".
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s style) paint(color, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}
