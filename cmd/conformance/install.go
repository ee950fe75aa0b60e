package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// buildkitVersion is the BuildKit that hod is compared with; that of the recipe packages in go.mod.
const buildkitVersion = "v0.34.2"

// installBuildKit builds buildkitd and buildctl from the module proxy, once, and returns their folder.
func installBuildKit(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for BuildKit: %w", err)
	}
	dir := filepath.Join(cache, "hod-conformance", "buildkit-"+buildkitVersion)
	if _, err := os.Stat(filepath.Join(dir, "buildctl")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a folder for BuildKit: %w", err)
	}
	source, err := download(ctx, "github.com/moby/buildkit@"+buildkitVersion)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", dir+"/", "./cmd/buildkitd", "./cmd/buildctl")
	cmd.Dir = source // the module is its own main module there, with its own versions
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build BuildKit: %w: %s", err, lastLines(string(out), 3))
	}
	return dir, nil
}

// download fetches a module and returns its folder.
func download(ctx context.Context, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.Output()
	var m struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &m); jsonErr != nil || m.Error != "" || err != nil {
		return "", fmt.Errorf("download %s: %v %s", module, err, m.Error)
	}
	return m.Dir, nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
