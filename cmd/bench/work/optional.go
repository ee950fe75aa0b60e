package work

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hodbuild/hod/cmd/bench/tree"
)

// debian installs python3 with apt; the packages are in the context, because
// there is no network where the peers are measured.
var debian = Work{
	Name: "w6", About: "Debian, apt-get install python3", Base: "debian", Optional: true, Partial: true, Changed: "debs/changed",
	Write: func(dir string, from Source) error {
		return os.CopyFS(filepath.Join(dir, "debs"), os.DirFS(filepath.Join(from.Cache, "debs")))
	},
	Recipe: func(base string, _ int) string {
		return fmt.Sprintf("FROM %s\nCOPY debs /debs\nRUN apt-get install -y --no-install-recommends /debs/*.deb && rm -rf /var/cache/apt/*.bin\n", base)
	},
	Want: func(string, int) (tree.Tree, error) {
		return tree.Tree{"usr/bin/pydoc3": {Kind: 'l', Mode: 0o777, Sum: "pydoc3.11"}, "usr/bin/python3": {Kind: 'l', Mode: 0o777, Sum: "python3.11"}}, nil
	},
}

// compile builds a Go program, with its cache in a mount, into scratch.
var compile = Work{
	Name: "w7", About: "a Go program compiled with a cache mount, into scratch", Base: "go", Optional: true, Mounts: true, Scratch: true, Changed: "src/changed.go.txt",
	Write: func(dir string, _ Source) error {
		src := filepath.Join(dir, "src")
		if err := os.MkdirAll(src, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(src, "go.mod"), []byte("module app\n\ngo 1.24\n"), 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(src, "main.go"), []byte(program), 0o644)
	},
	Recipe: func(base string, _ int) string {
		return fmt.Sprintf(`FROM %s AS b
ENV CGO_ENABLED=0 GOCACHE=/cache GOPROXY=off GOTOOLCHAIN=local GOFLAGS=-buildvcs=false PATH=/usr/local/go/bin:/bin
COPY src /src
WORKDIR /src
RUN --mount=type=cache,target=/cache go build -trimpath -o /app .
FROM scratch
COPY --from=b /app /app
`, base)
	},
	Want: wantProgram,
}

const program = `package main

import (
	_ "embed"
	"fmt"
	"net/http"
)

//go:embed changed.go.txt
var changed string

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, changed, r.URL) })
	fmt.Println(http.ListenAndServe(":8080", nil))
}
`

// wantProgram compiles on the host: the same compiler gives the same bytes.
func wantProgram(dir string, _ int) (tree.Tree, error) {
	out := filepath.Join(dir, ".app")
	defer os.Remove(out)
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, ".")
	cmd.Dir = filepath.Join(dir, "src")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOFLAGS=-buildvcs=false")
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w: %s", err, b)
	}
	e, err := tree.OfFile(out)
	return tree.Tree{"app": e}, err
}
