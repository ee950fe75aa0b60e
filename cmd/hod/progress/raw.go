package progress

import (
	"encoding/json"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
)

// raw writes what BuildKit's clients write for --progress=rawjson: objects of its
// SolveStatus, one per line (moby/buildkit client/graph.go).
type raw struct{ w io.Writer }

type solveStatus struct {
	Vertexes []vertex        `json:"vertexes,omitempty"`
	Statuses []vertexStatus  `json:"statuses,omitempty"`
	Logs     []vertexLog     `json:"logs,omitempty"`
	Warnings []vertexWarning `json:"warnings,omitempty"`
}

type vertex struct {
	Digest    digest.Digest   `json:"digest"`
	Inputs    []digest.Digest `json:"inputs,omitempty"`
	Name      string          `json:"name,omitempty"`
	Started   *time.Time      `json:"started,omitempty"`
	Completed *time.Time      `json:"completed,omitempty"`
	Cached    bool            `json:"cached,omitempty"`
	Error     string          `json:"error,omitempty"`
}

type vertexStatus struct {
	ID        string        `json:"id"`
	Vertex    digest.Digest `json:"vertex,omitempty"`
	Name      string        `json:"name,omitempty"`
	Total     int64         `json:"total,omitempty"`
	Current   int64         `json:"current"`
	Timestamp time.Time     `json:"timestamp"`
	Started   *time.Time    `json:"started,omitempty"`
	Completed *time.Time    `json:"completed,omitempty"`
}

type vertexLog struct {
	Vertex    digest.Digest `json:"vertex,omitempty"`
	Stream    int           `json:"stream,omitempty"`
	Data      []byte        `json:"data"`
	Timestamp time.Time     `json:"timestamp"`
}

type vertexWarning struct {
	Vertex digest.Digest `json:"vertex,omitempty"`
	Level  int           `json:"level,omitempty"`
	Short  []byte        `json:"short,omitempty"`
	URL    string        `json:"url,omitempty"`
}

func (w *raw) tell(e Event, r *row) {
	var out solveStatus
	switch e.Kind {
	case Warning:
		out.Warnings = []vertexWarning{{Level: 1, Short: []byte(e.Text), URL: e.URL}}
	case Output:
		out.Logs = []vertexLog{{vertexOf(r.ID), 1, []byte(e.Text + "\n"), e.time}}
	case Bytes:
		out.Statuses = []vertexStatus{{r.Name, vertexOf(r.ID), e.Text, e.Total, e.Current, e.time, &r.start, nil}}
	case Start, Cached, Done, Failed, Canceled:
		out.Vertexes = []vertex{vertexFrom(e, r)}
	default:
		return
	}
	if line, err := json.Marshal(out); err == nil {
		_, _ = w.w.Write(append(line, '\n')) // nobody can be told that standard error is gone
	}
}

func vertexFrom(e Event, r *row) vertex {
	v := vertex{Digest: vertexOf(r.ID), Name: r.Name, Started: &r.start, Cached: e.Kind == Cached}
	for _, id := range r.After {
		v.Inputs = append(v.Inputs, vertexOf(id))
	}
	if e.Kind.ended() {
		v.Completed = &r.end
	}
	switch e.Kind {
	case Failed:
		v.Error = e.Text
	case Canceled:
		v.Error = "context canceled"
	}
	return v
}

// vertexOf names a row as BuildKit names vertices.
func vertexOf(id string) digest.Digest { return digest.FromString(id) }

func (w *raw) close(Summary) {}
