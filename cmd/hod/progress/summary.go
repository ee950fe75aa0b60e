package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// text is what a person reads at the end; columns 0 is any number.
func (s Summary) text(look style, columns int) string {
	if s.Failed > 0 || s.Canceled > 0 || s.Steps == 0 {
		return ""
	}
	var b strings.Builder
	if s.Cached+s.Ran > 0 {
		line := fmt.Sprintf("%s: %d cached, %d ran", Seconds(s.Took), s.Cached, s.Ran)
		if s.Size > 0 {
			line += ", " + Size(s.Size) + " of new layers"
		}
		fmt.Fprintln(&b, look.paint(bold, line))
	}
	if s.Ran > 1 {
		s.critical(&b, columns)
	}
	for _, e := range s.made {
		fmt.Fprintf(&b, "image %s, %s, %s\n", Printable(e.Text), plural(e.Layers, "layer"), Size(e.Size))
		for _, n := range e.Names {
			fmt.Fprintf(&b, "named %s\n", Printable(n))
		}
	}
	return b.String()
}

// longestRow is what a summary tells of a row where there is no screen: its whole name stands above.
const longestRow = 120

// critical lists the rows that everybody waited for, but for those that took no time.
func (s Summary) critical(b *strings.Builder, columns int) {
	path := slices.DeleteFunc(slices.Clone(s.path), func(r *row) bool { return r.took() < 50*time.Millisecond })
	if len(path) == 0 {
		return
	}
	if columns == 0 {
		columns = longestRow
	}
	fmt.Fprintf(b, "critical path %s:\n", Seconds(s.Critical))
	for _, r := range path {
		fmt.Fprintln(b, fit(fmt.Sprintf("%8s  %s", Seconds(r.took()), Printable(r.Name)), columns-1))
	}
}
