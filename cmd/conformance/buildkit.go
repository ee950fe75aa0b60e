package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
)

// buildkit is a BuildKit of our own: its folder, socket and containers are no one else's.
type buildkit struct {
	bin    string // folder of the programs
	dir    string
	daemon *exec.Cmd
	reader *corpus.Reader
}

// startBuildKit starts buildkitd below dir. Docker Hub's names are found at registry.
func startBuildKit(ctx context.Context, bin, dir, registry string, reader *corpus.Reader) (*buildkit, error) {
	if _, err := exec.LookPath("runc"); err != nil {
		return nil, errors.New("BuildKit needs runc")
	}
	if os.Getuid() != 0 {
		return nil, errors.New("BuildKit is run as root here")
	}
	b := &buildkit{bin: bin, dir: dir, reader: reader}
	config := fmt.Sprintf("[registry.\"docker.io\"]\n  mirrors = [%q]\n[registry.%q]\n  http = true\n[log]\n  format = \"text\"\n", registry, registry)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/buildkitd.toml", []byte(config), 0o644)); err != nil {
		return nil, err
	}
	log, err := os.Create(dir + "/log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	b.daemon = exec.Command(filepath.Join(bin, "buildkitd"), "--config", dir+"/buildkitd.toml", "--root", dir+"/root", "--addr", b.addr(),
		"--oci-worker-net", "host", "--oci-worker-snapshotter", "overlayfs", "--containerd-worker=false",
		"--allow-insecure-entitlement", "network.host", "--allow-insecure-entitlement", "security.insecure")
	b.daemon.Stdout, b.daemon.Stderr = log, log
	if err := b.daemon.Start(); err != nil {
		return nil, fmt.Errorf("start buildkitd: %w", err)
	}
	return b, b.await(ctx)
}

func (b *buildkit) addr() string { return "unix://" + b.dir + "/sock" }

func (b *buildkit) await(ctx context.Context) error {
	for range 100 {
		if exec.CommandContext(ctx, filepath.Join(b.bin, "buildctl"), "--addr", b.addr(), "debug", "workers").Run() == nil {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	log, _ := os.ReadFile(b.dir + "/log")
	return fmt.Errorf("buildkitd does not answer: %s", lastLines(string(log), 3))
}

func (b *buildkit) stop() {
	b.daemon.Process.Signal(os.Interrupt)
	b.daemon.Wait()
}

// build builds a case as hod did.
func (b *buildkit) build(ctx context.Context, c *corpus.Case, p corpus.Place) (*corpus.Result, error) {
	args, err := buildctlArgs(c, p)
	if err != nil {
		return nil, err
	}
	out := filepath.Join(p.Dir, "buildkit.tar")
	args = append([]string{"--addr", b.addr(), "build", "--frontend", "dockerfile.v0", "--progress", "rawjson",
		"--output", "type=oci,compression=uncompressed,force-compression=true,dest=" + out}, args...)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "buildctl"), args...)
	cmd.Dir = p.Dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "SOURCE_DATE_EPOCH=") }), c.Env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	r := &corpus.Result{Failed: err != nil}
	readRawJSON(r, stderr.Bytes())
	if !r.Failed {
		r.Images, err = b.reader.Archive(out)
		return r, err
	}
	return r, nil
}

// readRawJSON takes warnings and messages out of what buildctl prints.
func readRawJSON(r *corpus.Result, raw []byte) {
	s := bufio.NewScanner(bytes.NewReader(raw))
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var status struct {
			Warnings []struct {
				Short []byte
				Range []struct{ Start struct{ Line int } }
			}
			Logs []struct{ Data []byte }
		}
		if json.Unmarshal(s.Bytes(), &status) != nil {
			r.Message += s.Text() + "\n"
			continue
		}
		for _, w := range status.Warnings {
			rule, _, _ := strings.Cut(string(w.Short), ":")
			line := 0
			if len(w.Range) > 0 {
				line = w.Range[0].Start.Line
			}
			r.Warnings = append(r.Warnings, fmt.Sprintf("%d %s", line, rule))
		}
		for _, l := range status.Logs {
			r.Message += string(l.Data)
		}
	}
	slices.Sort(r.Warnings)
	r.Warnings = slices.Compact(r.Warnings)
}
