package progress

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// keptLogs is how many builds' output is kept.
const keptLogs = 20

// logFile keeps the whole output of a build, byte for byte and with times. It is
// made when the first line comes, so a build that runs nothing writes nothing.
type logFile struct {
	dir  string
	now  func() time.Time
	f    *os.File
	fail error // the first that went wrong; a log that cannot be written stops no build
}

func (l *logFile) name() string {
	if l.f == nil || l.fail != nil {
		return ""
	}
	return l.f.Name()
}

func (l *logFile) tell(e Event, r *row) {
	if l.fail != nil || r == nil || r.Blob || l.f == nil && e.Kind != Output {
		return
	}
	if l.f == nil {
		if l.fail = l.open(); l.fail != nil {
			return
		}
		_, l.fail = fmt.Fprintf(l.f, "#%s %s\n", r.ID, r.Name)
	}
	var text string
	switch e.Kind {
	case Start:
		text = r.Name
	case Output:
		text = fmt.Sprintf("%.3f %s", e.time.Sub(r.start).Seconds(), e.Text)
	case Note:
		text = "because " + e.Text
	case Failed:
		text = "ERROR: " + e.Text
	default:
		text = strings.ToUpper(string(e.Kind))
	}
	_, l.fail = fmt.Fprintf(l.f, "#%s %s\n", r.ID, text)
}

// open makes the file and removes the oldest of those that earlier builds left.
func (l *logFile) open() error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(l.dir, "build-*.log"))
	if err != nil {
		return err
	}
	slices.Sort(old) // by time
	for _, name := range old[:max(0, len(old)-keptLogs+1)] {
		if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	l.f, err = os.CreateTemp(l.dir, "build-"+l.now().UTC().Format("20060102T150405")+"-*.log")
	return err
}

func (l *logFile) close(Summary) {
	if l.f == nil {
		return
	}
	if err := l.f.Close(); l.fail == nil {
		l.fail = err
	}
}
