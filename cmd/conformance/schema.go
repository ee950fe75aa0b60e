package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
)

// validator checks files named KIND-digest against the schemas of the image specification; it is a module of its own,
// so that hod does not depend on what it needs.
const validator = `package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/image-spec/schema"
)

var kinds = map[string]schema.Validator{
	"index": schema.ValidatorMediaTypeImageIndex, "manifest": schema.ValidatorMediaTypeManifest,
	"config": schema.ValidatorMediaTypeImageConfig, "layout": schema.ValidatorMediaTypeLayoutHeader,
}

func main() {
	good, all := 0, 0
	for _, file := range os.Args[1:] {
		kind, _, _ := strings.Cut(filepath.Base(file), "-")
		f, err := os.Open(file)
		if err == nil {
			err = kinds[kind].Validate(f)
			f.Close()
		}
		if all++; err != nil {
			fmt.Fprintln(os.Stderr, file, err)
			continue
		}
		good++
	}
	fmt.Println(good, all)
}
`

// runSchema validates what hod writes for the cases that need no sandbox.
func runSchema(ctx context.Context, o options) score {
	s := score{name: "image specification's schemas"}
	bin, err := buildValidator(ctx, o)
	if err != nil {
		return s.left(err)
	}
	cases, err := corpus.Load(filepath.Join(o.repo, "testdata/corpus"))
	if err != nil {
		return s.left(err)
	}
	r, err := openRoom(ctx, o, "schema", cases)
	if err != nil {
		return s.left(err)
	}
	defer r.files.Close()
	dir := filepath.Join(o.work, "documents")
	for _, c := range cases {
		if _, fails := c.Section("error"); fails || c.Prints() || c.Runs() || !o.only.MatchString(c.Name) {
			continue
		}
		p, err := r.place(c)
		if err != nil {
			return s.left(err)
		}
		if res, err := r.hod.Build(ctx, c, p); err != nil || res.Failed {
			continue // the corpus says so
		}
		if err := collect(filepath.Join(p.Dir, "out.tar"), dir); err != nil {
			return s.left(err)
		}
	}
	bare, _ := filepath.Glob(dir + "/bare-*")
	s.note = fmt.Sprintf("%d manifests of images without layers are left out: the text allows what the schema refuses", len(bare))
	files, _ := filepath.Glob(dir + "/[^b]*")
	cmd := exec.CommandContext(ctx, bin, files...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if _, scanErr := fmt.Sscan(string(out), &s.passed, &s.of); scanErr != nil {
		return s.left(fmt.Errorf("validate: %v", err))
	}
	return s
}

func buildValidator(ctx context.Context, o options) (string, error) {
	dir := filepath.Join(o.work, "validator")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(dir+"/main.go", []byte(validator), 0o644); err != nil {
		return "", err
	}
	for _, args := range [][]string{{"mod", "init", "validator"}, {"get", "github.com/opencontainers/image-spec/schema@v1.1.1"}, {"build", "-o", "validator", "."}} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "CGO_ENABLED=0", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %s: %w: %s", args[0], err, lastLines(string(out), 2))
		}
	}
	return dir + "/validator", nil
}

// collect writes the documents of an OCI layout into a folder, each named by its kind.
func collect(archive, dir string) error {
	files, err := corpus.Files(archive)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, data := range files {
		kind := kindOf(name, data)
		if kind == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, kind+"-"+filepath.Base(name)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func kindOf(name string, data []byte) string {
	var doc map[string]json.RawMessage
	if json.Unmarshal(data, &doc) != nil {
		return ""
	}
	has := func(key string) bool { return doc[key] != nil }
	switch {
	case name == "oci-layout":
		return "layout"
	case has("manifests"):
		return "index"
	case string(doc["layers"]) == "[]":
		return "bare"
	case has("layers"):
		return "manifest"
	case has("rootfs") && strings.HasPrefix(name, "blobs/"):
		return "config"
	}
	return ""
}
