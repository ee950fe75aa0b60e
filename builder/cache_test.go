package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hodbuild/hod/builder/plan"
)

// kindsOf builds and returns which steps ran and which were cached, as "copy@2" by line, in the order of the plan.
func (w *world) kindsOf(o Options) (ran, cached, why string) {
	w.t.Helper()
	seen := map[*plan.Step]string{}
	var reasons []string
	o.Explain = true
	o.Events = func(e Event) {
		switch e.Kind {
		case "done", "cached":
			seen[e.Step] = e.Kind
		case "explain":
			reasons = append(reasons, e.Text)
		}
	}
	res := w.must(o)
	for _, s := range res.Plan.Steps {
		if _, ok := s.Op.(plan.Context); ok {
			continue
		}
		switch seen[s] {
		case "done":
			ran += s.Name + ";"
		case "cached":
			cached += s.Name + ";"
		}
	}
	return ran, cached, strings.Join(reasons, "\n")
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

const cacheRecipe = "FROM scratch AS a\nCOPY x y /src/\nFROM scratch\nWORKDIR /w\nCOPY --from=a /src/x /x\nCOPY z /z\n"

func TestCacheUnchangedRunsNothing(t *testing.T) {
	w := newWorld(t, map[string]string{"Dockerfile": cacheRecipe, "x": "X", "y": "Y", "z": "Z"})
	first := w.must(Options{}).Images[0].ID
	ran, cached, _ := w.kindsOf(Options{})
	if ran != "" {
		t.Errorf("ran again: %s", ran)
	}
	if strings.Contains(cached, "COPY x y") {
		t.Errorf("a step below a hit was visited: %s", cached)
	}
	if again := w.must(Options{NoCache: true}).Images[0].ID; again != first {
		t.Errorf("without the cache the image is %s, it was %s", again, first)
	}
}

func TestCacheEarlyCutOff(t *testing.T) {
	w := newWorld(t, map[string]string{"Dockerfile": cacheRecipe, "x": "X", "y": "Y", "z": "Z"})
	w.must(Options{})
	w.write("y", "changed")
	ran, cached, why := w.kindsOf(Options{})
	if ran != "[a 1/1] COPY x y /src/;" || !strings.Contains(cached, "COPY --from=a") || !strings.Contains(cached, "COPY z") {
		t.Errorf("ran %q, cached %q", ran, cached)
	}
	if !strings.Contains(why, "y changed") || strings.Contains(why, "x changed") {
		t.Errorf("explained as %q", why)
	}
}

func TestCacheSeesEachInput(t *testing.T) {
	for _, c := range []struct {
		name, ran string
		change    func(w *world, o *Options)
	}{
		{"content", "[stage-1 3/3] COPY z /z;", func(w *world, _ *Options) { w.write("z", "other") }},
		{"mode", "[stage-1 3/3] COPY z /z;", func(w *world, _ *Options) { os.Chmod(filepath.Join(w.dir, "z"), 0o755) }},
		{"time alone", "", func(w *world, _ *Options) { w.write("z", "Z") }},
		{"flag", "[stage-1 3/3] COPY --chmod=600 z /z;", func(w *world, _ *Options) {
			w.write("Dockerfile", strings.Replace(cacheRecipe, "COPY z", "COPY --chmod=600 z", 1))
		}},
		{"epoch", "[a 1/1] COPY x y /src/;[stage-1 1/3] WORKDIR /w;[stage-1 2/3] COPY --from=a /src/x /x;[stage-1 3/3] COPY z /z;",
			func(_ *world, o *Options) { o.Args = map[string]string{"SOURCE_DATE_EPOCH": "5"} }},
		{"description", "", func(w *world, _ *Options) { w.write("Dockerfile", cacheRecipe+"LABEL a=b\n") }},
		{"no cache for a stage", "[a 1/1] COPY x y /src/;", func(_ *world, o *Options) { o.NoCacheFor = []string{"a"}; o.Target = "a" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, map[string]string{"Dockerfile": cacheRecipe, "x": "X", "y": "Y", "z": "Z"})
			w.must(Options{})
			var o Options
			c.change(w, &o)
			if ran, _, _ := w.kindsOf(o); ran != c.ran {
				t.Errorf("ran %q, want %q", ran, c.ran)
			}
		})
	}
}
