package progress

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/clipperhouse/displaywidth"
)

// live draws on a terminal. What is finished is printed once and scrolls away as
// any output does; below it, the rows that work are drawn again and again. The
// cursor is neither hidden nor is the screen switched, so that there is nothing
// to give back but the lines that were drawn last.
type live struct {
	w     io.Writer
	board *board
	size  func() (columns, lines int)
	style style
	title string
	now   func() time.Time

	above []string // finished lines that are not printed yet
	drawn []int    // width of each line that is on the screen and not finished
	turn  int      // of the spinner
}

func newLive(w io.Writer, b *board, size func() (int, int), s style, title string, now func() time.Time) *live {
	return &live{w: w, board: b, size: size, style: s, title: title, now: now}
}

func (l *live) tell(e Event, r *row) {
	columns, _ := l.size()
	switch e.Kind {
	case Warning:
		l.above = append(l.above, l.style.paint(yellow, fit(" ! "+warning(e), columns)))
	case Note:
		l.above = append(l.above, l.style.paint(dim, fit("   "+Printable(r.Name)+" runs because "+Printable(e.Text), columns)))
	case Cached, Done, Failed:
		l.above = append(l.above, l.finished(r, e.Text, columns)...)
	}
}

// finished is what stays of a row.
func (l *live) finished(r *row, text string, columns int) []string {
	s := l.style
	switch {
	case r.state == Cached && r.Blob:
		return []string{s.paint(dim, columnsOf(s.cached+" "+r.Name, text, columns))}
	case r.state == Cached:
		return []string{s.paint(dim, columnsOf(s.cached+" "+Printable(r.Name), "cached", columns))}
	case r.state == Done:
		right := Seconds(r.took())
		if n := max(r.size, r.total); n > 0 {
			right = Size(n) + "  " + right
		}
		return []string{s.paint(green, " "+s.ok) + columnsOf(Printable(r.Name), right, columns-2)}
	}
	lines := []string{s.paint(red, columnsOf(s.failed+" "+Printable(r.Name), Seconds(r.took()), columns))}
	for _, line := range r.tail {
		lines = append(lines, s.paint(red, "   "+s.more)+" "+fit(line, columns-5))
	}
	return lines
}

// columnsOf sets one text left and one right in a line of so many columns.
func columnsOf(left, right string, columns int) string {
	columns-- // the last column is left free: some terminals wrap there
	if columns < 24 {
		return fit(" "+left, columns)
	}
	right = fit(right, 24)
	width := columns - displaywidth.String(right) - 1
	return pad(" "+left, width) + " " + right
}

// draw brings the screen up to date.
func (l *live) draw() {
	columns, height := l.size()
	l.turn++
	l.put(columns, l.frame(columns, height))
}

// put replaces the lines that are on the screen.
func (l *live) put(columns int, frame []string) {
	if len(l.above) == 0 && len(frame) == 0 && len(l.drawn) == 0 {
		return
	}
	var b strings.Builder
	b.WriteString("\x1b[?2026h") // shown as one, where the terminal knows that
	l.wipe(&b, columns)
	for _, line := range append(l.above, frame...) {
		b.WriteString(line + "\n")
	}
	b.WriteString("\x1b[?2026l")
	l.above, l.drawn = nil, nil
	for _, line := range frame {
		l.drawn = append(l.drawn, displaywidth.Options{ControlSequences: true}.String(line))
	}
	io.WriteString(l.w, b.String())
}

// wipe goes back to the first of the drawn lines. A terminal that became
// narrower has broken them into more.
func (l *live) wipe(b *strings.Builder, columns int) {
	up := 0
	for _, width := range l.drawn {
		up += max(1, (width+columns-1)/columns)
	}
	b.WriteString("\r")
	if up > 0 {
		fmt.Fprintf(b, "\x1b[%dA", up)
	}
	b.WriteString("\x1b[J")
}

func (l *live) close(s Summary) {
	columns, _ := l.size()
	l.put(columns, nil)
	io.WriteString(l.w, s.text(l.style, columns))
}
