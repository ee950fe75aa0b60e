package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// registry is a server that all peers use alike. Its files are in memory and
// not on the disk that is measured.
type registry struct {
	host   string // where peers find it
	folder string
	begun  map[string]bool // what it had when all was prepared
}

// startRegistry starts Debian's docker-registry, or hod's own server where that
// is missing; prefix is put before the command (to enter a namespace).
func (b *bench) startRegistry(r *registry, listen string, prefix ...string) error {
	name := "registry-" + strings.ReplaceAll(r.host, ":", "-")
	r.folder = filepath.Join(b.bed.Memory, name)
	if err := os.MkdirAll(r.folder, 0o755); err != nil {
		return err
	}
	argv := []string{b.hod, "--root", r.folder, "serve", "-q", "--addr", listen}
	if path, err := exec.LookPath("docker-registry"); err == nil {
		config := filepath.Join(b.bed.Memory, name+".yml")
		text := fmt.Sprintf("version: 0.1\nstorage:\n  filesystem: {rootdirectory: %s}\n  delete: {enabled: true}\nhttp: {addr: %q}\nlog: {level: error, accesslog: {disabled: true}}\n", r.folder, listen)
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return err
		}
		argv = []string{path, "serve", config}
	}
	_, err := b.daemon(name, append(prefix, argv...), nil)
	return err
}

// empty forgets all that was pushed.
func (r *registry) empty() error {
	return os.RemoveAll(filepath.Join(r.folder, "docker"))
}

// hold remembers what the registry has, for strip.
func (r *registry) hold() (err error) {
	r.begun, err = r.items()
	return err
}

// strip forgets all that came since hold: what builds of several peers and rounds
// push is gigabytes of memory, and a layer that is there already is not sent.
func (r *registry) strip() error {
	now, err := r.items()
	if err != nil {
		return err
	}
	for path := range now {
		if r.begun[path] {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// items are the folders of repositories and blobs of docker-registry; of another
// server there are none, and its memory grows.
func (r *registry) items() (map[string]bool, error) {
	all := map[string]bool{}
	for _, pattern := range []string{"repositories/*", "blobs/*/*/*"} {
		found, err := filepath.Glob(filepath.Join(r.folder, "docker/registry/v2", pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			all[path] = true
		}
	}
	return all, nil
}

// await waits until the registry answers.
func (r *registry) await() error {
	return awaited(func() error {
		resp, err := http.Get("http://" + r.host + "/v2/")
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
}

// roundTrip is the time of a small question on an open connection.
func (r *registry) roundTrip() (best time.Duration) {
	best = time.Hour
	for range 10 {
		start := time.Now()
		resp, err := http.Get("http://" + r.host + "/v2/")
		if err != nil {
			return 0
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		best = min(best, time.Since(start))
	}
	return best
}

// upload puts an OCI layout of one image into the registry.
func (r *registry) upload(layout, name string) error {
	var index ocispec.Index
	if err := readJSON(filepath.Join(layout, "index.json"), &index); err != nil {
		return err
	}
	d := index.Manifests[0]
	raw, err := os.ReadFile(blobFile(layout, d))
	if err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	for _, blob := range append(m.Layers, m.Config) {
		if err := r.putBlob(layout, name, blob); err != nil {
			return fmt.Errorf("upload %s: %w", blob.Digest, err)
		}
	}
	return send("PUT", fmt.Sprintf("http://%s/v2/%s/manifests/1", r.host, name), d.MediaType, bytes.NewReader(raw), int64(len(raw)))
}

func (r *registry) putBlob(layout, name string, d ocispec.Descriptor) error {
	resp, err := http.Post(fmt.Sprintf("http://%s/v2/%s/blobs/uploads/", r.host, name), "", nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	at, err := resp.Location()
	if err != nil {
		return err
	}
	q := at.Query()
	q.Set("digest", string(d.Digest))
	at.RawQuery = q.Encode()
	f, err := os.Open(blobFile(layout, d))
	if err != nil {
		return err
	}
	defer f.Close()
	return send("PUT", at.String(), "application/octet-stream", f, d.Size)
}

func send(method, url, media string, body io.Reader, size int64) error {
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", media)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	return nil
}

var manifestTypes = []string{
	ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex,
	"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
}

// download makes an OCI layout of an image of the registry.
func (r *registry) download(name, layout string) error {
	blobs := filepath.Join(layout, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	top, err := r.manifest(name, "1", layout)
	if err != nil {
		return err
	}
	index, err := json.Marshal(ocispec.Index{Manifests: []ocispec.Descriptor{top}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(layout, "index.json"), index, 0o644)
}

// manifest fetches a manifest and all that it names.
func (r *registry) manifest(name, ref, layout string) (ocispec.Descriptor, error) {
	var d ocispec.Descriptor
	b, media, err := r.get(fmt.Sprintf("%s/manifests/%s", name, ref))
	if err != nil {
		return d, err
	}
	d = descriptor(media, b)
	var m struct {
		Manifests []ocispec.Descriptor
		Layers    []ocispec.Descriptor
		Config    ocispec.Descriptor
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return d, err
	}
	for _, below := range m.Manifests {
		if _, err := r.manifest(name, string(below.Digest), layout); err != nil {
			return d, err
		}
	}
	if m.Config.Digest != "" {
		for _, blob := range append(m.Layers, m.Config) {
			b, _, err := r.get(fmt.Sprintf("%s/blobs/%s", name, blob.Digest))
			if err != nil {
				return d, err
			}
			if err := os.WriteFile(blobFile(layout, blob), b, 0o644); err != nil {
				return d, err
			}
		}
	}
	return d, os.WriteFile(blobFile(layout, d), b, 0o644)
}

func (r *registry) get(path string) ([]byte, string, error) {
	req, err := http.NewRequest("GET", fmt.Sprintf("http://%s/v2/%s", r.host, path), nil)
	if err != nil {
		return nil, "", err
	}
	req.Header["Accept"] = manifestTypes
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return b, resp.Header.Get("Content-Type"), err
}

// daemon starts a process that lives as long as the benchmark; its output is a
// file in memory.
func (b *bench) daemon(name string, argv, env []string) (*os.Process, error) {
	log, err := os.Create(filepath.Join(b.bed.Memory, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // reaps it
	return cmd.Process, nil
}

// awaited asks until the answer is good, half a minute long.
func awaited(ask func() error) (err error) {
	for range 300 {
		if err = ask(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}
