package cache

import (
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Explain says why a step with these inputs was not found: the differences to the nearest record of its operation, by
// name. Without any record it says so.
func (c *Cache) Explain(op digest.Digest, inputs []Input) ([]string, error) {
	keys, err := c.Store.RecordKeys(op)
	if err != nil {
		return nil, fmt.Errorf("list cache records: %w", err)
	}
	var nearest []string
	for _, key := range keys {
		r, err := c.Find(op, key)
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue
		}
		if d := Differences(r.Inputs, inputs); len(d) > 0 && (nearest == nil || len(d) < len(nearest)) {
			nearest = d
		}
	}
	if nearest == nil {
		return []string{"it never ran before"}, nil
	}
	return nearest, nil
}

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
		case was.Digest != i.Digest && was.Value != "" && i.Value != "":
			lines = append(lines, fmt.Sprintf("%s %s -> %s", i.Name, was.Value, i.Value))
		case was.Digest != i.Digest:
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
