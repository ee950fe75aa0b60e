// Package progress shows what builds and transfers do while they do it.
//
// Whoever works tells a [View] events. Each event is about a row: a step of a
// recipe, a layer on its way. A row starts, prints lines or moves bytes, and is
// done, cached, failed or canceled. What a person or a program sees of that is
// the view's mode:
//
//	tty      the rows that work now, with their last lines, below what is finished
//	plain    a line per event, as "docker build --progress=plain" writes them
//	json     an object per line, whose fields docs/progress.md promises
//	rawjson  the same in BuildKit's own words
//	quiet    nothing
//
// A view also keeps the whole output of a build in a file, so that nothing is
// lost to a screen that scrolled. Text of rows is foreign: no view lets it steer
// the terminal.
package progress

import "time"

// Kind says what happened to a row.
type Kind string

// The kinds of events.
const (
	Start    Kind = "start"    // the row begins to work
	Cached   Kind = "cached"   // its result was there already
	Output   Kind = "output"   // it printed the line Text
	Note     Kind = "note"     // Text says why it has to work
	Bytes    Kind = "bytes"    // it is at Current of Total bytes, in the phase Text
	Done     Kind = "done"     // it made a layer of Size bytes, or moved Total ones
	Failed   Kind = "failed"   // Text is the error
	Canceled Kind = "canceled" // another row's failure, or the user, ended it
	Warning  Kind = "warning"  // Text is advice about the whole, Rule its name, Line its place
	Result   Kind = "result"   // Text is what came out, Names how it is called
	summed   Kind = "summary"  // the last event of a view
)

// Row is what events are about.
type Row struct {
	ID     string   // unique in the view
	Name   string   // for people
	Stage  string   // of a recipe, perhaps empty
	After  []string // rows that had to be done first
	Source bool     // a step that only brings what others read: a base or a context
	Blob   bool     // it is bytes on their way and not a step
}

// Event is one thing that happened.
type Event struct {
	Kind           Kind
	Row            Row
	Text           string
	Current, Total int64
	Size           int64    // Done and Result: bytes; 0 is none
	Rule           string   // Warning
	Line           int      // Warning: of the recipe, 0 is none
	URL            string   // Warning: where it is explained
	Names          []string // Result
	Layers         int      // Result
	time           time.Time
}

// Waiting is the phase of bytes that have yet to move. It is shown where somebody
// looks, and makes no line in a pipe.
const Waiting = "Waiting"

// ended says that a row will say nothing more.
func (k Kind) ended() bool { return k == Cached || k == Done || k == Failed || k == Canceled }
