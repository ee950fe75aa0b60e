package cache

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Record is what the cache remembers of a step.
type Record struct {
	// Kind and Step say to people what made it: "run", "RUN make".
	Kind string `json:"kind,omitempty"`
	Step string `json:"step,omitempty"`
	// Layer is the diffID that the step left, "" when it left no layer.
	Layer digest.Digest `json:"layer,omitempty"`
	// Packer is the version of the packer that made the layer.
	Packer string `json:"packer,omitempty"`
	// Inputs are there for explanations, which alone read them.
	Inputs []Input `json:"-"`
	// Keys are all keys that it is filed under.
	Keys []digest.Digest `json:"keys,omitempty"`
	Made time.Time       `json:"made"`
}

// inputsLimit bounds what a record says about inputs: those of half a million files.
const inputsLimit = 24 << 20

// encode writes a record: a line of JSON, which is all that a hit reads, and a line for each input, which has the beginning
// of its digest, its name and perhaps its value.
func (r Record) encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	for _, in := range r.Inputs {
		if len(data) > inputsLimit {
			break
		}
		data = append(append(data, '\n'), in.short()...)
		data = strconv.AppendQuote(append(data, ' '), in.Name)
		if in.Value != "" {
			data = strconv.AppendQuote(append(data, ' '), in.Value)
		}
	}
	return data, nil
}

// short is enough of a digest to see that it is another one.
func (i Input) short() string {
	hex := string(i.Digest)
	if _, after, ok := strings.Cut(hex, ":"); ok {
		hex = after
	}
	return hex[:min(len(hex), 16)]
}

// decode reads a record without its inputs, and says what follows it; false where it cannot be read.
func decode(data []byte) (Record, []byte, bool) {
	var r Record
	head, rest, _ := bytes.Cut(data, []byte("\n"))
	return r, rest, json.Unmarshal(head, &r) == nil
}

// decodeInputs reads the lines behind a record. Their digests are short.
func decodeInputs(lines []byte) []Input {
	var list []Input
	for line := range strings.Lines(string(lines)) {
		var in Input
		short, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		name, err := strconv.QuotedPrefix(rest)
		if err != nil {
			continue
		}
		in.Digest = digest.Digest(short)
		in.Name, _ = strconv.Unquote(name)
		in.Value, _ = strconv.Unquote(strings.TrimPrefix(rest[len(name):], " "))
		list = append(list, in)
	}
	return list
}
