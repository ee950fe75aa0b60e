package progress

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clipperhouse/displaywidth"
)

var update = flag.Bool("update", false, "write the golden files anew")

// clock is a time that the test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) forward(d time.Duration) { c.t = c.t.Add(d) }

func newClock() *clock { return &clock{time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }

var (
	from  = Row{ID: "1", Name: "[build 1/3] FROM debian", Stage: "build", Source: true}
	cp    = Row{ID: "2", Name: "[build 2/3] COPY src /src", Stage: "build", After: []string{"1"}}
	mk    = Row{ID: "3", Name: "[build 3/3] RUN make -C /src", Stage: "build", After: []string{"2"}}
	docs  = Row{ID: "4", Name: "[docs 2/2] RUN mkdocs build", Stage: "docs", After: []string{"1"}}
	last  = Row{ID: "5", Name: "[stage-2 2/2] COPY --from=build /src/app /app", After: []string{"3", "4"}}
	blob  = Row{ID: "sha256:0123456789abcdef", Name: "0123456789ab", Blob: true}
	other = Row{ID: "sha256:fedcba9876543210", Name: "fedcba987654", Blob: true}
)

// story is a build as it is told: what happens, and how long the next takes.
var story = []struct {
	e    Event
	then time.Duration
}{
	{Event{Kind: Warning, Text: "use WORKDIR", Rule: "Style", Line: 7}, 0},
	{Event{Kind: Start, Row: from}, 100 * time.Millisecond},
	{Event{Kind: Bytes, Row: blob, Text: "Downloading", Current: 0, Total: 40e6}, time.Second},
	{Event{Kind: Bytes, Row: blob, Text: "Downloading", Current: 10e6, Total: 40e6}, time.Second},
	{Event{Kind: Bytes, Row: blob, Text: "Downloading", Current: 40e6, Total: 40e6}, 0},
	{Event{Kind: Bytes, Row: blob, Text: "Extracting", Current: 40e6, Total: 40e6}, time.Second},
	{Event{Kind: Done, Row: blob, Current: 40e6, Total: 40e6}, 0},
	{Event{Kind: Cached, Row: other, Text: "Already exists"}, 0},
	{Event{Kind: Done, Row: from}, 0},
	{Event{Kind: Cached, Row: cp}, 0},
	{Event{Kind: Note, Row: mk, Text: "src/main.c changed"}, 0},
	{Event{Kind: Start, Row: mk}, 0},
	{Event{Kind: Start, Row: docs}, time.Second},
	{Event{Kind: Output, Row: mk, Text: "\x1b[1mcc\x1b[0m -c main.c\r"}, 500 * time.Millisecond},
	{Event{Kind: Output, Row: mk, Text: "10%\r20%\r100%"}, 0},
	{Event{Kind: Output, Row: docs, Text: "\x1b]0;title\x07INFO \x9b bidi \u202e."}, time.Second},
	{Event{Kind: Output, Row: docs, Text: "世界世界世界世界世界世界世界世界世界世界世界世界世界"}, 0},
	{Event{Kind: Done, Row: docs, Size: 1234}, time.Minute},
	{Event{Kind: Done, Row: mk, Size: 5678901}, 0},
	{Event{Kind: Start, Row: last}, 300 * time.Millisecond},
	{Event{Kind: Done, Row: last, Size: 4000}, 0},
	{Event{Kind: Result, Text: "sha256:aaaa", Layers: 3, Size: 6e6, Names: []string{"docker.io/library/app:latest"}}, 0},
}

// TestPlain, TestJSON and TestRawJSON hold what a build looks like in a pipe.
func TestPlain(t *testing.T)   { golden(t, "plain", told(t, "plain")) }
func TestJSON(t *testing.T)    { golden(t, "json", told(t, "json")) }
func TestRawJSON(t *testing.T) { golden(t, "rawjson", told(t, "rawjson")) }

// TestQuiet: neither word says anything.
func TestQuiet(t *testing.T) {
	for _, mode := range []string{"quiet", "none"} {
		if out := told(t, mode); out != "" {
			t.Errorf("%s says %q", mode, out)
		}
	}
}

func told(t *testing.T, mode string) string {
	t.Helper()
	var b bytes.Buffer
	c := newClock()
	v, err := New(Options{W: &b, Mode: mode, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range story {
		v.Tell(s.e)
		c.forward(s.then)
	}
	v.Close()
	v.Close()
	v.Tell(story[1].e)
	return b.String()
}

// TestModes: a mode that nobody knows, and a live view without a terminal.
func TestModes(t *testing.T) {
	for mode, want := range map[string]string{"fancy": `--progress "fancy" is not known`, "tty": "not a terminal"} {
		if _, err := New(Options{W: &bytes.Buffer{}, Mode: mode}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// TestJSONFields: every line is an object with a time and an event.
func TestJSONFields(t *testing.T) {
	for line := range strings.Lines(told(t, "json")) {
		var e struct{ Time, Event string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Time == "" || e.Event == "" {
			t.Errorf("%v: %s", err, line)
		}
	}
}

// TestFrames holds what a terminal shows after each event, wide, narrow and low.
func TestFrames(t *testing.T) {
	for _, size := range [][2]int{{100, 24}, {40, 24}, {12, 24}, {80, 5}, {80, 2}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			var out strings.Builder
			c := newClock()
			l := newLive(&bytes.Buffer{}, newBoard(c.now()), func() (int, int) { return size[0], size[1] }, unicodeStyle, "building app", c.now)
			for _, s := range story {
				s.e.time = c.now()
				l.tell(s.e, l.board.take(s.e))
				c.forward(s.then)
				if s.then == 0 {
					continue
				}
				frame := l.frame(size[0], size[1])
				check(t, size, frame)
				check(t, [2]int{size[0], 1 << 20}, l.above)
				fmt.Fprintf(&out, "-- %s\n%s\n-- above\n%s\n", c.now().Format("04:05.0"), strings.Join(frame, "\n"), strings.Join(l.above, "\n"))
				l.above = nil
			}
			golden(t, fmt.Sprintf("frames-%dx%d", size[0], size[1]), out.String())
		})
	}
}

// check: no frame is wider or higher than the terminal, or steers it.
func check(t *testing.T, size [2]int, lines []string) {
	t.Helper()
	if len(lines) > max(2, size[1]-1) {
		t.Errorf("%d lines on a terminal of %d", len(lines), size[1])
	}
	for _, line := range lines {
		if w := displaywidth.String(line); w > size[0] {
			t.Errorf("%d columns of %d: %q", w, size[0], line)
		}
		if strings.ContainsAny(line, "\x1b\r\n\t\u202e\u009b") {
			t.Errorf("control characters in %q", line)
		}
	}
}

// TestFailure: the rows that others end are not blamed, and the last lines of
// the one that failed are told again.
func TestFailure(t *testing.T) {
	var b bytes.Buffer
	dir := t.TempDir()
	v, err := New(Options{W: &b, Mode: "plain", Now: newClock().now, Logs: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Event{{Kind: Start, Row: docs}, {Kind: Start, Row: mk}, {Kind: Output, Row: mk, Text: "no\x07 rule"},
		{Kind: Failed, Row: mk, Text: "exit code: 2"}, {Kind: Canceled, Row: docs}} {
		v.Tell(e)
	}
	v.Close()
	golden(t, "failure", b.String())
	log, err := os.ReadFile(v.Log())
	if err != nil || !strings.Contains(string(log), "#3 0.000 no\x07 rule\n#3 ERROR: exit code: 2\n") {
		t.Errorf("log: %v: %q", err, log)
	}
}

// TestLogs: only the last builds' output is kept, and none is made for nothing.
func TestLogs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	c := newClock()
	for i := range keptLogs + 3 {
		v, err := New(Options{W: &bytes.Buffer{}, Mode: "quiet", Now: c.now, Logs: dir})
		if err != nil {
			t.Fatal(err)
		}
		v.Tell(Event{Kind: Start, Row: docs})
		if v.Log() != "" {
			t.Fatal("a log without a line")
		}
		v.Tell(Event{Kind: Output, Row: docs, Text: fmt.Sprint("line ", i)})
		c.forward(time.Second)
		v.Close()
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) != keptLogs {
		t.Fatalf("%d logs, %v", len(logs), err)
	}
	if text, err := os.ReadFile(logs[0]); err != nil || !strings.Contains(string(text), "line 3\n") {
		t.Errorf("the oldest is %q, %v", text, err)
	}
}

// TestClean: what foreign text becomes.
func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                      "plain",
		"a\tb":                       "a\tb",
		"10%\r20%\r":                 "20%",
		"\x1b[31;1mred\x1b[m":        "red",
		"\x1b]8;;http://x\x1b\\link": "link",
		"\x1bPq#0;2;0;0;0\x07after":  "after",
		"\x1b(Bx\x1b7y\x1b":          "xy",
		"\x1b[31":                    "",
		"\x1b[2J\x1b[H\x07":          "\ufffd",
		"\u009b31mx":                 "\ufffd31mx",
		"ev\u202eil":                 "ev\ufffdil",
		"bad \xff utf8":              "bad \ufffd utf8",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, not %q", in, got, want)
		}
	}
}

// TestSeconds and sizes as people read them.
func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0.0s", 59949 * time.Millisecond: "59.9s", 59950 * time.Millisecond: "1m00s",
		125 * time.Second: "2m05s", 62 * time.Minute: "1h02m", -time.Second: "0.0s"} {
		if got := Seconds(d); got != want {
			t.Errorf("Seconds(%v) = %s, not %s", d, got, want)
		}
	}
}

// FuzzClean: whatever a program prints, no escape, control or turning character is left.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"a\x1b[31mb", "\x1b]0;x\x07", "\x1b\x1b[", "\x9b1m", "x\ry"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if Printable(got) != got || strings.ContainsAny(got, "\x1b\r\x07\x7f") {
			t.Errorf("clean(%q) = %q", s, got)
		}
		if again := clean(got); !strings.Contains(got, "\n") && again != got {
			t.Errorf("clean(%q) = %q, then %q", s, got, again)
		}
	})
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; it is now:\n%s", file, got)
	}
}
