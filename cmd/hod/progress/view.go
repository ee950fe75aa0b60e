package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Options say where a view shows what.
type Options struct {
	W io.Writer
	// Mode is auto, tty, plain, json, rawjson, quiet or none.
	Mode string
	// Title says what is done, for the line below the rows.
	Title string
	// Logs is a folder that keeps the whole output of the last builds; empty keeps none.
	Logs string
	// Now is the clock, time.Now by default.
	Now func() time.Time
}

// renderer is one way to show events. Its methods are called one at a time.
type renderer interface {
	// tell shows an event; r is the row that it is about, nil for none.
	tell(e Event, r *row)
	// close shows how it ended.
	close(s Summary)
}

// View shows events. It is safe for concurrent use. Close ends it.
type View struct {
	now   func() time.Time
	board *board

	mu   sync.Mutex // guards what follows, and the order of events
	log  *logFile
	show []renderer
	done bool

	stop    chan struct{} // ends redraw, nil where nothing is drawn again
	stopped chan struct{}
}

// Modes are the words that Options.Mode takes.
var modes = map[string]bool{"auto": true, "tty": true, "plain": true, "json": true, "rawjson": true, "quiet": true, "none": true}

// New makes a view. The mode auto is tty on a terminal and plain elsewhere; tty
// elsewhere is an error.
func New(o Options) (*View, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Mode == "" {
		o.Mode = "auto"
	}
	if !modes[o.Mode] {
		return nil, fmt.Errorf("--progress %q is not known: use auto, tty, plain, json, rawjson or quiet", o.Mode)
	}
	t := terminalOf(o.W)
	if o.Mode == "tty" && t == nil {
		return nil, fmt.Errorf("--progress tty: standard error is not a terminal")
	}
	v := &View{now: o.Now, board: newBoard(o.Now())}
	switch {
	case o.Mode == "tty" || o.Mode == "auto" && t != nil && os.Getenv("TERM") != "dumb":
		l := newLive(o.W, v.board, t.size, styleOf(os.Getenv), o.Title, v.now)
		v.show = append(v.show, l)
		v.stop, v.stopped = make(chan struct{}), make(chan struct{})
		go v.redraw(l)
	case o.Mode == "plain" || o.Mode == "auto":
		v.show = append(v.show, newPlain(o.W))
	case o.Mode == "json":
		v.show = append(v.show, newJSON(o.W))
	case o.Mode == "rawjson":
		v.show = append(v.show, &raw{w: o.W})
	}
	if o.Logs != "" {
		v.log = &logFile{dir: o.Logs, now: o.Now}
		v.show = append(v.show, v.log)
	}
	return v, nil
}

// Tell shows an event. What comes after Close is dropped.
func (v *View) Tell(e Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.done {
		return
	}
	e.time = v.now()
	r := v.board.take(e)
	for _, s := range v.show {
		s.tell(e, r)
	}
}

// Close shows how it ended and gives the terminal back. Closing again does nothing.
func (v *View) Close() {
	v.mu.Lock()
	if v.done {
		v.mu.Unlock()
		return
	}
	v.done = true
	v.mu.Unlock()
	if v.stop != nil {
		close(v.stop)
		<-v.stopped
	}
	s := v.board.summary(v.now())
	for _, r := range v.show {
		r.close(s)
	}
}

// Log is the name of the file with the whole output, empty where there was none.
func (v *View) Log() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.log == nil {
		return ""
	}
	return v.log.name()
}

// every is how often a live view is drawn.
const every = 80 * time.Millisecond

func (v *View) redraw(l *live) {
	defer close(v.stopped)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			v.mu.Lock()
			l.draw()
			v.mu.Unlock()
		case <-v.stop:
			return
		}
	}
}
