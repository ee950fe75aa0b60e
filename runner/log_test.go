//go:build linux

package runner

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// logOf is a container with a log and nothing else.
func logOf(t *testing.T, size int64, files int) (*Container, *logWriter) {
	t.Helper()
	c := &Container{Dir: t.TempDir(), Options: ContainerOptions{LogMaxSize: size, LogMaxFile: files}}
	w, err := openLog(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.close() })
	return c, w
}

func lineNumbers(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

// A log is turned over as often between two looks as it has files; who follows it misses nothing.
func TestWhoFollowsALogThatIsTurnedOverMissesNothing(t *testing.T) {
	for _, files := range []int{1, 2, 4} {
		var out bytes.Buffer
		c, w := logOf(t, 300, files)
		tail := &logTail{c: c, o: LogOptions{Stdout: &out}, fresh: true}
		defer tail.close()
		const each = 3 // records of such a size are a file full
		lines := 0
		for range 20 {
			for range each * files {
				w.write("stdout", []byte(lineNumbers(lines, lines+1)))
				lines++
			}
			if err := tail.turn(); err != nil {
				t.Fatal(err)
			}
			if err := tail.drain(); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := out.String(), lineNumbers(0, lines); got != want {
			t.Errorf("%d files: read\n%s\nof\n%s", files, got, want)
		}
		if n, err := os.ReadDir(c.Dir); err != nil || len(n) != files {
			t.Errorf("%d files: there are %d, %v", files, len(n), err)
		}
	}
}

// The files are turned over while they are opened, one after the other.
func TestLogFilesAreOpenedOnce(t *testing.T) {
	c, w := logOf(t, 300, 3)
	w.write("stdout", []byte(lineNumbers(0, 7)))
	if err := os.Link(c.file("log.json"), c.file("log.json.new")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.file("log.json.new"), c.file("log.json.1")); err != nil {
		t.Fatal(err)
	}
	files, err := c.openLogs()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(files)
	if len(files) != 2 || sameOpen(files[0], files[1]) {
		t.Errorf("opened %d files", len(files))
	}
}

func TestLastLinesOfALog(t *testing.T) {
	c, w := logOf(t, 0, 1)
	long := strings.Repeat("x", 3*logPart) + "\n"
	w.write("stdout", []byte(lineNumbers(0, 2000)+long+lineNumbers(2000, 2002)))
	middle := time.Now().UTC()
	w.write("stdout", []byte(lineNumbers(2002, 2004)))
	rest := "no end"
	for _, unfinished := range []string{"", rest} {
		if unfinished != "" {
			w.write("stdout", []byte(rest))
			w.flush()
		}
		whole := slices.Collect(strings.Lines(lineNumbers(0, 2000) + long + lineNumbers(2000, 2004) + unfinished))
		for _, n := range []int{0, 1, 2, 4, 5, 6, 700, len(whole) - 1, len(whole), len(whole) + 5} {
			want := strings.Join(whole[len(whole)-min(n, len(whole)):], "")
			if got := tailed(t, c, LogOptions{Tail: n}); got != want {
				t.Errorf("last %d lines are %d bytes, want %d", n, len(got), len(want))
			}
		}
		want := lineNumbers(2002, 2004) + unfinished
		if got := tailed(t, c, LogOptions{Tail: 100, Since: middle}); got != want {
			t.Errorf("since %s: %q, want %q", middle, got, want)
		}
	}
	if got, want := tailed(t, c, LogOptions{Tail: 2, Until: middle}), lineNumbers(2000, 2002); got != want {
		t.Errorf("until %s: %q, want %q", middle, got, want)
	}
}

func TestLastLinesOfALogOfManyFiles(t *testing.T) {
	c, w := logOf(t, 300, 4)
	w.write("stdout", []byte(lineNumbers(0, 100)))
	all := slices.Collect(strings.Lines(tailed(t, c, LogOptions{Tail: -1})))
	if len(all) < 8 || all[len(all)-1] != "line 99\n" {
		t.Fatalf("kept %q", all)
	}
	for n := range len(all) + 3 {
		want := strings.Join(all[len(all)-min(n, len(all)):], "")
		if got := tailed(t, c, LogOptions{Tail: n}); got != want {
			t.Errorf("last %d lines: %q, want %q", n, got, want)
		}
	}
}

// tailed is what logs prints.
func tailed(t *testing.T, c *Container, o LogOptions) string {
	t.Helper()
	var out bytes.Buffer
	o.Stdout = &out
	files, err := c.openLogs()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(files)
	if files, err = o.last(files); err != nil {
		t.Fatal(err)
	}
	tail := &logTail{c: c, o: o, fresh: true}
	for _, f := range files {
		tail.hold(f)
		if err := tail.drain(); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestLogAfterACut(t *testing.T) {
	c, w := logOf(t, 0, 1)
	w.write("stdout", []byte("before\n"))
	if _, err := w.f.WriteString(`{"log":"cut`); err != nil {
		t.Fatal(err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	next, err := openLog(c)
	if err != nil {
		t.Fatal(err)
	}
	next.write("stdout", []byte("after\n"))
	next.f.Close()
	next.f = nil // what is left where the next file could not be opened
	next.write("stdout", []byte("again\n"))
	if got, want := tailed(t, c, LogOptions{Tail: -1}), "before\nafter\nagain\n"; got != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestLongLinesKeepTheirCharacters(t *testing.T) {
	c, w := logOf(t, 0, 1)
	text := strings.Repeat("aé€𝄞", 10000) + "\n"
	w.write("stdout", []byte(text))
	if got := tailed(t, c, LogOptions{Tail: -1}); got != text {
		t.Errorf("%d bytes of %d, %d characters lost", len(got), len(text), strings.Count(got, "\uFFFD"))
	}
}
