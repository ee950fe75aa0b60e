package progress

import (
	"fmt"
	"strings"
	"time"

	"github.com/clipperhouse/displaywidth"
)

// maxOutput is how many lines of its output a row shows at most.
const maxOutput = 8

// frame is what is drawn now: the rows that work, each with its last lines as
// far as there is room, and a line about the whole.
func (l *live) frame(columns, height int) []string {
	rows := l.board.working()
	if len(rows) == 0 && l.now().Sub(l.board.begun) < time.Second/2 {
		return nil
	}
	room := max(1, height-2) // the line about the whole, and the cursor's
	var hidden int
	if len(rows) > room {
		hidden = len(rows) - room + 1
		rows = rows[:max(0, room-1)]
	}
	per := 0
	if steps := talking(rows); steps > 0 {
		per = min(maxOutput, (room-len(rows))/steps)
	}
	var lines []string
	for _, r := range rows {
		lines = append(lines, l.row(r, columns))
		for _, line := range r.tail[max(0, len(r.tail)-per):] {
			lines = append(lines, l.style.paint(dim, fit("   "+l.style.more+" "+line, columns-1)))
		}
	}
	if hidden > 0 {
		lines = append(lines, fit(fmt.Sprintf("   and %d more", hidden), columns-1))
	}
	return append(lines, l.style.paint(bold, fit(l.whole(), columns-1)))
}

// talking counts the rows that have printed something.
func talking(rows []*row) (n int) {
	for _, r := range rows {
		if len(r.tail) > 0 {
			n++
		}
	}
	return n
}

// row is the line of a row that works.
func (l *live) row(r *row, columns int) string {
	spin := l.style.paint(cyan, " "+l.style.spin[l.turn%len(l.style.spin)])
	took := Seconds(l.now().Sub(r.start))
	if !r.Blob {
		return spin + columnsOf(Printable(r.Name), took, columns-2)
	}
	return spin + " " + l.moving(r, columns-4)
}

// moving is name, phase, bar, bytes, rate and rest of a transfer; what there is
// no room for is left out, the rest first.
func (l *live) moving(r *row, columns int) string {
	left := r.Name + " " + pad(r.phase, 11)
	bytes := Size(r.current)
	if r.total > 0 {
		bytes += "/" + Size(r.total)
	}
	parts := []string{pad(bytes, 13)}
	if r.rate.per > 0 && r.current < r.total {
		parts = append(parts, pad(Size(int64(r.rate.per))+"/s", 9))
		if d := r.rate.left(r.total - r.current); d > 0 {
			parts = append(parts, Seconds(d)+" left")
		}
	}
	const shortest = 10
	for len(parts) > 1 && displaywidth.String(left)+len(strings.Join(parts, " "))+shortest+4 > columns {
		parts = parts[:len(parts)-1]
	}
	right := strings.TrimRight(strings.Join(parts, " "), " ")
	wide := min(40, columns-displaywidth.String(left)-len(right)-4)
	if r.total <= 0 || wide < 4 {
		return fit(left+" "+right, columns)
	}
	return left + " " + l.bar(wide, r.current, r.total) + " " + right
}

// bar is a bar of so many columns.
func (l *live) bar(columns int, current, total int64) string {
	n := int(float64(columns) * min(1, float64(current)/float64(max(total, 1))))
	return l.style.paint(green, strings.Repeat(l.style.full, n)) + l.style.paint(dim, strings.Repeat(l.style.empty, columns-n))
}

// whole is the line about everything.
func (l *live) whole() string {
	b := l.board
	parts := []string{l.title + " " + Seconds(l.now().Sub(b.begun))}
	steps, bytes := b.split()
	if n := count(steps, Cached); n > 0 {
		parts = append(parts, fmt.Sprintf("%d cached", n))
	}
	if n := count(steps, Done); n > 0 {
		parts = append(parts, fmt.Sprintf("%d done", n))
	}
	if n := count(steps, Start); n > 1 {
		parts = append(parts, fmt.Sprintf("%d running", n))
	}
	if text := allBytes(bytes); text != "" {
		parts = append(parts, text)
	}
	return " " + strings.Join(parts, " · ")
}

// allBytes says how far all transfers are.
func allBytes(rows []*row) string {
	var current, total int64
	var per float64
	if count(rows, Start) == 0 {
		return ""
	}
	for _, r := range rows {
		if r.total == 0 || r.state == Cached {
			continue
		}
		total += r.total
		if current += r.current; r.state == Start && r.current < r.total {
			per += r.rate.per
		}
	}
	if total == 0 {
		return ""
	}
	text := Size(current) + " of " + Size(total)
	if all := (&rate{per: per}); per > 0 {
		text += " · " + Size(int64(per)) + "/s"
		if d := all.left(total - current); d > 0 {
			text += " · " + Seconds(d) + " left"
		}
	}
	return text
}

// split gives the steps and the transfers.
func (b *board) split() (steps, blobs []*row) {
	for _, r := range b.order {
		if r.Blob {
			blobs = append(blobs, r)
		} else {
			steps = append(steps, r)
		}
	}
	return steps, blobs
}

func count(rows []*row, k Kind) (n int) {
	for _, r := range rows {
		if r.state == k {
			n++
		}
	}
	return n
}
