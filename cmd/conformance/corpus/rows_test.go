package corpus_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
)

// TestCorpusCoversEveryRow: each row of what a recipe can say has a case.
func TestCorpusCoversEveryRow(t *testing.T) {
	cases, err := corpus.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, c := range cases {
		rows = append(rows, c.Rows...)
	}
	for n := 1; n <= 68; n++ {
		if !slices.Contains(rows, fmt.Sprint(n)) {
			t.Errorf("row %d has no case", n)
		}
	}
	if len(cases) < 250 {
		t.Errorf("%d cases, want 250", len(cases))
	}
}
