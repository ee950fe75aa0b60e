package progress

import (
	"encoding/json"
	"io"
	"math"
	"time"
)

// jsonLines writes an object per event. docs/progress.md promises the fields:
// some may come, none goes or changes its meaning.
type jsonLines struct {
	w     io.Writer
	moved map[*row]moved
}

func newJSON(w io.Writer) *jsonLines { return &jsonLines{w: w, moved: map[*row]moved{}} }

// jsonEvent is a line.
type jsonEvent struct {
	Time     string       `json:"time"`
	Event    Kind         `json:"event"`
	ID       string       `json:"id,omitempty"`
	Name     string       `json:"name,omitempty"`
	Stage    string       `json:"stage,omitempty"`
	After    []string     `json:"after,omitempty"`
	Text     string       `json:"text,omitempty"`
	Error    string       `json:"error,omitempty"`
	Phase    string       `json:"phase,omitempty"`
	Current  int64        `json:"current,omitempty"`
	Total    int64        `json:"total,omitempty"`
	Seconds  *float64     `json:"seconds,omitempty"`
	Size     int64        `json:"size,omitempty"`
	Warning  *jsonWarning `json:"warning,omitempty"`
	Image    string       `json:"image,omitempty"`
	Names    []string     `json:"names,omitempty"`
	Layers   int          `json:"layers,omitempty"`
	*jsonSum `json:",omitempty"`
}

type jsonWarning struct {
	Rule    string `json:"rule,omitempty"`
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"`
	URL     string `json:"url,omitempty"`
}

type jsonSum struct {
	Cached          int      `json:"cached"`
	Ran             int      `json:"ran"`
	Failed          int      `json:"failed"`
	Canceled        int      `json:"canceled"`
	Moved           int64    `json:"moved"`
	CriticalSeconds float64  `json:"critical_seconds"`
	Critical        []string `json:"critical"`
}

// often is how often a row's bytes are told.
const often = 100 * time.Millisecond

func (j *jsonLines) tell(e Event, r *row) {
	out := jsonEvent{Time: e.time.UTC().Format(time.RFC3339Nano), Event: e.Kind, Text: e.Text, Size: e.Size, Names: e.Names, Layers: e.Layers}
	if r != nil {
		out.ID, out.Name, out.Stage = r.ID, r.Name, r.Stage
		if e.Kind == Start || e.Kind == Cached {
			out.After = r.After
		}
	}
	switch e.Kind {
	case Bytes:
		if last, known := j.moved[r]; known && last.phase == e.Text && e.Current < e.Total && e.time.Sub(last.at) < often {
			return
		}
		j.moved[r] = moved{e.Text, e.time}
		out.Text, out.Phase, out.Current, out.Total = "", e.Text, e.Current, e.Total
	case Done, Failed, Canceled:
		out.Seconds, out.Total = seconds(r.took()), e.Total
		if e.Kind == Failed {
			out.Text, out.Error = "", e.Text
		}
	case Warning:
		out.Text, out.Warning = "", &jsonWarning{e.Rule, e.Text, e.Line, e.URL}
	case Result:
		out.Text, out.Image = "", e.Text
	}
	j.write(out)
}

func (j *jsonLines) close(s Summary) {
	if s.Steps == 0 && s.Moved == 0 && len(s.made) == 0 {
		return // nothing was done
	}
	sum := &jsonSum{Cached: s.Cached, Ran: s.Ran, Failed: s.Failed, Canceled: s.Canceled, Moved: s.Moved,
		CriticalSeconds: *seconds(s.Critical), Critical: []string{}}
	for _, r := range s.path {
		sum.Critical = append(sum.Critical, r.ID)
	}
	j.write(jsonEvent{Time: s.At.UTC().Format(time.RFC3339Nano), Event: summed, Seconds: seconds(s.Took), Size: s.Size, jsonSum: sum})
}

func (j *jsonLines) write(e jsonEvent) {
	enc := json.NewEncoder(j.w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(e) // nobody can be told that standard error is gone
}

func seconds(d time.Duration) *float64 {
	s := math.Round(d.Seconds()*1000) / 1000
	return &s
}
