package dockerfile

// Location is a place in a recipe as BuildKit's calls write it in JSON.
type Location struct {
	Ranges []Span `json:"ranges,omitempty"`
}

// Span is a part of a recipe, both ends included.
type Span struct {
	Start Position `json:"start"`
	End   Position `json:"end"`
}

// Position is a line, counted from 1, and a column, counted from 0.
type Position struct {
	Line      int `json:"line,omitempty"`
	Character int `json:"character,omitempty"`
}

// LocationOf writes ranges as a location.
func LocationOf(ranges []Range) *Location {
	l := &Location{}
	for _, r := range ranges {
		l.Ranges = append(l.Ranges, Span{Position(r.Start), Position(r.End)})
	}
	return l
}

// LinesAt is the location of whole lines; nil where there are none.
func LinesAt(first, last int) *Location {
	if first == 0 {
		return nil
	}
	return &Location{[]Span{{Position{Line: first}, Position{Line: max(first, last)}}}}
}

// First is the first line of a location, 0 where there is none.
func (l *Location) First() int {
	if l == nil || len(l.Ranges) == 0 {
		return 0
	}
	return l.Ranges[0].Start.Line
}
