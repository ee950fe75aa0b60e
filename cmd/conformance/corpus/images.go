package corpus

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Base is an image that cases begin FROM, as the archive of an OCI layout.
type Base struct {
	Name    string
	Archive []byte
}

// Box is the base with busybox, from this machine's static one.
func Box() (Base, error) {
	list, err := ParseTree(boxTree)
	if err != nil {
		return Base{}, err
	}
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return Base{}, fmt.Errorf("the base image needs a static busybox: %w", err)
	}
	applets, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return Base{}, fmt.Errorf("list applets: %w", err)
	}
	list = append(list, Entry{Path: "bin/busybox", Kind: File, Mode: 0o755, Content: program})
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			list = append(list, Entry{Path: "bin/" + name, Kind: Link, Mode: 0o777, Target: "busybox"})
		}
	}
	return base("box", list, `{"config":{"Env":["PATH=/bin"],"Cmd":["sh"]}}`)
}

const boxTree = `
/bin/
/dev/
/etc/
/etc/group "root:x:0:\nnogroup:x:65534:\nuser:x:1000:\nextra:x:2000:user,other\nwide:x:3000:\n"
/etc/passwd "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nuser:x:1000:1000::/home/user:/bin/sh\nother:x:1001:2000::/:/bin/sh\n"
/home/
/home/user/ 1000:1000
/lib -> usr/lib
/proc/
/root/ 700
/sys/
/tmp/ 1777
/usr/
/usr/lib/
`

// Images are the bases that a case brings itself.
func (c *Case) Images() ([]Base, error) {
	var list []Base
	for _, f := range c.sections {
		name, ok := strings.CutPrefix(f.Name, "image ")
		if !ok || strings.HasSuffix(name, " config") {
			continue
		}
		entries, err := ParseTree(string(f.Data))
		if err != nil {
			return nil, err
		}
		config, ok := c.Section(f.Name + " config")
		if !ok {
			config = "{}"
		}
		b, err := base(name, entries, config)
		if err != nil {
			return nil, fmt.Errorf("%s: image %s: %w", c.Name, name, err)
		}
		list = append(list, b)
	}
	return list, nil
}

// base makes an image of entries; one without layers where there are none.
func base(name string, list []Entry, config string) (Base, error) {
	if len(list) == 0 {
		return Bundle(name, nil, config)
	}
	var layer bytes.Buffer
	if err := writeTar(&layer, list); err != nil {
		return Base{}, err
	}
	return Bundle(name, layer.Bytes(), config)
}

// Bundle makes an image of one layer, a tar; nil is none.
func Bundle(name string, layer []byte, config string) (Base, error) {
	doc := map[string]any{"architecture": "amd64", "os": "linux", "created": "2001-02-03T04:05:06Z"}
	if layer != nil {
		doc["history"] = []any{map[string]any{"created_by": "base"}}
	}
	if err := json.Unmarshal([]byte(config), &doc); err != nil {
		return Base{}, fmt.Errorf("read configuration: %w", err)
	}
	blobs := map[string][]byte{}
	put := func(mediaType string, data []byte) ocispec.Descriptor {
		d := digest.FromBytes(data)
		blobs[blobPath(string(d))] = data
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	ids := []string{}
	if layer != nil {
		m.Layers = append(m.Layers, put(ocispec.MediaTypeImageLayer, layer))
		ids = append(ids, string(m.Layers[0].Digest))
	}
	doc["rootfs"] = map[string]any{"type": "layers", "diff_ids": ids}
	raw, err := json.Marshal(doc)
	if err != nil {
		return Base{}, err
	}
	m.Config = put(ocispec.MediaTypeImageConfig, raw)
	if raw, err = json.Marshal(m); err != nil {
		return Base{}, err
	}
	d := put(ocispec.MediaTypeImageManifest, raw)
	d.Annotations = map[string]string{"io.containerd.image.name": "docker.io/library/" + name + ":latest", ocispec.AnnotationRefName: "latest"}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{d}}
	if blobs["index.json"], err = json.Marshal(index); err != nil {
		return Base{}, err
	}
	blobs["oci-layout"] = []byte(`{"imageLayoutVersion":"1.0.0"}`)
	return Base{Name: name, Archive: layoutTar(blobs)}, nil
}

func layoutTar(blobs map[string][]byte) []byte {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, name := range []string{"oci-layout", "index.json"} {
		addFile(tw, name, blobs[name])
		delete(blobs, name)
	}
	for name, data := range blobs {
		if fmt.Sprintf("%x", sha256.Sum256(data)) == path.Base(name) {
			addFile(tw, name, data)
		}
	}
	tw.Close()
	return b.Bytes()
}

func addFile(tw *tar.Writer, name string, data []byte) {
	tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))})
	tw.Write(data)
}
