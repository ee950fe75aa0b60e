package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// The load: so many clients push so many images of so many layers each, and pull
// each image twice.
const (
	loadClients = 50
	loadImages  = 4
	loadLayers  = 3
	layerBytes  = 256 << 10
	loadPulls   = 2
)

// Where the servers listen that are put under load.
const hodLoad, registryLoad = "127.0.0.1:5005", "127.0.0.1:5006"

// loadCell compares servers by the same client. Both keep their files on the bed's
// disk.
func (b *bench) loadCell() *cell {
	return &cell{
		name: "d6", image: "base", verb: "load", rounds: 5,
		about: fmt.Sprintf("serve %d clients that push %d images of %d layers and pull each %d times", loadClients, loadImages, loadLayers, loadPulls),
		names: func(*peer, *job) {},
	}
}

// loadLine is the process that is all the clients.
func loadLine(addr string) []string {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return []string{self, "-load", addr}
}

// startHodLoad starts hod's own server, where the cell is wanted.
func (b *bench) startHodLoad() error {
	if !b.needs("d6") {
		return nil
	}
	_, err := b.daemon("hod-load", []string{b.hod, "--root", filepath.Join(b.bed.Disk, "hod-load"), "serve", "-q", "--addr", hodLoad}, nil)
	if err != nil {
		return err
	}
	return (&registry{host: hodLoad}).await()
}

// dockerRegistry is Debian's docker-registry, as a server under load.
func (b *bench) dockerRegistry() *peer {
	return &peer{
		name: "docker-registry", needs: []string{"docker-registry"}, version: []string{"docker-registry", "--version"},
		about: "files in a folder; it syncs nothing before it acknowledges", fresh: func() error { return nil },
		verbs: map[string]verb{"load": one(func(job) []string { return loadLine(registryLoad) })},
		start: func() error {
			config := filepath.Join(b.bed.Memory, "load.yml")
			text := fmt.Sprintf("version: 0.1\nstorage:\n  filesystem: {rootdirectory: %s}\nhttp: {addr: %q}\nlog: {level: error, accesslog: {disabled: true}}\n", filepath.Join(b.bed.Disk, "registry-load"), registryLoad)
			if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
				return err
			}
			if _, err := b.daemon("registry-load", []string{"docker-registry", "serve", config}, nil); err != nil {
				return err
			}
			return (&registry{host: registryLoad}).await()
		},
	}
}

// loadRegistry is all clients. An answer that is wrong, or an image that was
// acknowledged and is not there, is an error.
func loadRegistry(addr string) error {
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = loadClients
	r := &registry{host: addr}
	var g errgroup.Group
	for i := range loadClients {
		g.Go(func() error {
			for j := range loadImages {
				name := fmt.Sprintf("load/%d-%d-%d", time.Now().UnixNano(), i, j)
				if err := r.bear(name); err != nil {
					return fmt.Errorf("client %d: %w", i, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// bear pushes one image of random bytes and pulls it.
func (r *registry) bear(name string) error {
	var m ocispec.Manifest
	m.Versioned, m.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageManifest
	for range loadLayers {
		layer := make([]byte, layerBytes)
		if _, err := rand.Read(layer); err != nil {
			return err
		}
		d, err := r.putBytes(name, ocispec.MediaTypeImageLayer, layer)
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, d)
	}
	var err error
	if m.Config, err = r.putBytes(name, ocispec.MediaTypeImageConfig, fmt.Appendf(nil, `{"name":%q}`, name)); err != nil {
		return err
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := send("PUT", fmt.Sprintf("http://%s/v2/%s/manifests/1", r.host, name), m.MediaType, bytes.NewReader(raw), int64(len(raw))); err != nil {
		return err
	}
	for range loadPulls {
		got, _, err := r.get(name + "/manifests/1")
		if err != nil {
			return err
		}
		if !bytes.Equal(got, raw) {
			return fmt.Errorf("the manifest of %s is not the one that was pushed", name)
		}
		for _, d := range append(m.Layers, m.Config) {
			b, _, err := r.get(fmt.Sprintf("%s/blobs/%s", name, d.Digest))
			if err != nil {
				return err
			}
			if digest.FromBytes(b) != d.Digest {
				return fmt.Errorf("blob %s of %s came wrong", d.Digest, name)
			}
		}
	}
	return nil
}

// putBytes pushes a blob.
func (r *registry) putBytes(name, media string, b []byte) (ocispec.Descriptor, error) {
	d := descriptor(media, b)
	resp, err := http.Post(fmt.Sprintf("http://%s/v2/%s/blobs/uploads/", r.host, name), "", nil)
	if err != nil {
		return d, err
	}
	resp.Body.Close()
	at, err := resp.Location()
	if err != nil {
		return d, err
	}
	q := at.Query()
	q.Set("digest", string(d.Digest))
	at.RawQuery = q.Encode()
	return d, send("PUT", at.String(), "application/octet-stream", bytes.NewReader(b), d.Size)
}
