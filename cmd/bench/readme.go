package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The marks in the README between which the pictures of the last full run are.
const (
	readmeBegin = "<!-- bench -->\n"
	readmeEnd   = "<!-- /bench -->\n"
)

// putInto replaces what stands between the marks of a page by the pictures.
func (r *report) putInto(page, folder string) error {
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(b), readmeBegin)
	_, after, closed := strings.Cut(rest, readmeEnd)
	if !found || !closed {
		return fmt.Errorf("%s has no place for the pictures: %q and %q", page, readmeBegin, readmeEnd)
	}
	var text strings.Builder
	m := r.Machine
	fmt.Fprintf(&text, "Measured by `make bench` on %s: %d × %s, Linux %s; whole processes in turn, each\nresult checked. Every figure, with memory, bytes written and bytes on the wire, is in\n[%s](%s).\n",
		m.When, m.Processors, m.Processor, m.Kernel, filepath.Join(folder, "results.md"), filepath.Join(folder, "results.md"))
	for _, name := range []string{"glance", "w2", "w3", "w4", "runnable", "start"} {
		picture := filepath.Join(folder, name+".svg")
		if _, err := os.Stat(picture); err == nil {
			fmt.Fprintf(&text, "\n![%s](%s)\n", pictureTitle(name), picture)
		}
	}
	return os.WriteFile(page, []byte(before+readmeBegin+text.String()+readmeEnd+after), 0o644)
}

// pictureTitle is the heading of a picture.
func pictureTitle(file string) string {
	for _, p := range pictures {
		if p.file == file {
			return p.title
		}
	}
	return "hod beside the fastest other tool, for each job"
}
