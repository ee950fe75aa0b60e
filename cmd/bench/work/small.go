package work

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/cmd/bench/tree"
)

// one copies one file.
var one = Work{
	Name: "w1", About: "one file copied", Base: "base", Changed: "file",
	Write: func(dir string, _ Source) error {
		return os.WriteFile(filepath.Join(dir, "file"), prose(1, 64<<10), 0o644)
	},
	Recipe: func(base string, _ int) string { return fmt.Sprintf("FROM %s\nCOPY file /file\n", base) },
	Want: func(dir string, _ int) (tree.Tree, error) {
		b, err := os.ReadFile(filepath.Join(dir, "file"))
		return tree.Tree{"file": tree.File(b, 0o644)}, err
	},
}

// runSteps is the number of RUNs of w2; a change is made in the middle one.
const runSteps = 20

// runs has twenty RUN steps that do next to nothing.
var runs = Work{
	Name: "w2", About: "20 × RUN", Base: "base",
	Write: func(string, Source) error { return nil },
	Recipe: func(base string, change int) string {
		b := new(strings.Builder)
		fmt.Fprintf(b, "FROM %s\n", base)
		for i := range runSteps {
			fmt.Fprintf(b, "RUN echo %s > /out%d\n", runText(i, change), i)
		}
		return b.String()
	},
	Want: func(_ string, change int) (tree.Tree, error) {
		t := tree.Tree{}
		for i := range runSteps {
			t[fmt.Sprintf("out%d", i)] = text(runText(i, change))
		}
		return t, nil
	},
}

func runText(step, change int) string {
	if step == runSteps/2 {
		return fmt.Sprintf("step-%d-%d", step, change)
	}
	return fmt.Sprintf("step-%d", step)
}

// stages sleeps in four stages that could run side by side.
var stages = Work{
	Name: "w5", About: "four stages of two seconds, joined", Base: "base",
	Write: func(string, Source) error { return nil },
	Recipe: func(base string, change int) string {
		b := new(strings.Builder)
		for i := range 4 {
			fmt.Fprintf(b, "FROM %s AS s%d\nRUN sleep 2 && echo %s > /out%d\n", base, i, stageText(i, change), i)
		}
		fmt.Fprintf(b, "FROM %s\n", base)
		for i := range 4 {
			fmt.Fprintf(b, "COPY --from=s%d /out%d /out%d\n", i, i, i)
		}
		return b.String()
	},
	Want: func(_ string, change int) (tree.Tree, error) {
		t := tree.Tree{}
		for i := range 4 {
			t[fmt.Sprintf("out%d", i)] = text(stageText(i, change))
		}
		return t, nil
	},
}

func stageText(stage, change int) string {
	if stage == 3 {
		return fmt.Sprintf("stage-%d-%d", stage, change)
	}
	return fmt.Sprintf("stage-%d", stage)
}
