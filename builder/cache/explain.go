package cache

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Below is the name of the input that a step stands on.
const Below = "below"

// Explain says why a step of this kind with these inputs was not found: the differences to the nearest record of its
// operation, by name. Without any it names the other instruction that stood in this place, on the same ground. Imported caches
// do not name their inputs: of them it can say only that they have the operation.
func (c *Cache) Explain(op digest.Digest, kind string, inputs []Input, imported []*Imported) ([]string, error) {
	keys, err := c.Store.RecordKeys(op)
	if err != nil {
		return nil, fmt.Errorf("list cache records: %w", err)
	}
	var nearest []string
	known := slices.ContainsFunc(imported, func(im *Imported) bool { return im.knows(op) })
	for _, key := range keys {
		data, err := c.Store.Record(op, key)
		if err != nil { // it went meanwhile
			continue
		}
		_, lines, ok := decode(data)
		if !ok {
			continue
		}
		before := decodeInputs(lines)
		if len(before) == 0 && len(inputs) > 0 { // of a cache that travelled, which leaves them out
			known = true
			continue
		}
		if d := Differences(before, inputs); len(d) > 0 && (nearest == nil || len(d) < len(nearest)) {
			nearest = d
		}
	}
	switch {
	case nearest == nil && known:
		nearest = []string{elsewhere}
	case nearest == nil:
		nearest = []string{c.instead(kind, inputs)}
	}
	return nearest, nil
}

// knows says whether a record has this operation, whatever its inputs were.
func (im *Imported) knows(op digest.Digest) bool {
	for at := range im.records {
		if at[0] == op {
			return true
		}
	}
	return false
}

// instead looks for the last step of this kind that stood on what this one stands on.
func (c *Cache) instead(kind string, inputs []Input) string {
	i := slices.IndexFunc(inputs, isBelow)
	if i < 0 {
		return never
	}
	var last Record
	for data := range c.Store.Records() {
		r, lines, ok := decode(data)
		if !ok || r.Kind != kind || !r.Made.After(last.Made) {
			continue
		}
		r.Inputs = decodeInputs(lines)
		if j := slices.IndexFunc(r.Inputs, isBelow); j >= 0 && r.Inputs[j].short() == inputs[i].short() {
			last = r
		}
	}
	if last.Step == "" {
		return never
	}
	return "the instruction changed, it was: " + last.Step
}

const (
	never     = "it never ran before"
	elsewhere = "it never ran here, and the imported cache has it with other inputs, which it does not name"
)

func isBelow(i Input) bool { return i.Name == Below }

// Differences lists what changed between two lists of inputs, one line each, in the order of the new list.
func Differences(before, after []Input) []string {
	old := make(map[string]Input, len(before))
	for _, i := range before {
		old[i.Name] = i
	}
	var lines []string
	for _, i := range after {
		was, ok := old[i.Name]
		delete(old, i.Name)
		switch {
		case !ok:
			lines = append(lines, i.Name+" is new")
		case was.short() == i.short():
		case isBelow(i) && i.Value != "":
			lines = append(lines, "what it stands on changed: "+i.Value)
		case was.Value != "" && i.Value != "" && was.Value != i.Value:
			lines = append(lines, fmt.Sprintf("%s %s -> %s", i.Name, was.Value, i.Value))
		default:
			lines = append(lines, i.Name+" changed")
		}
	}
	for _, i := range before {
		if _, gone := old[i.Name]; gone {
			lines = append(lines, i.Name+" is gone")
			delete(old, i.Name)
		}
	}
	return lines
}
