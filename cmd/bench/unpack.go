package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hodbuild/hod/cmd/bench/tree"
	"github.com/hodbuild/hod/cmd/bench/work"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Unpacking is an archive in memory that becomes a tree in the tool's store, on
// the disk and in memory; packing is a folder that becomes an archive of an
// image. Nothing of it goes over a network.

// unpackCells load an image of one layer, not compressed, as docker save writes it.
func (b *bench) unpackCells() []*cell {
	var all []*cell
	for i, image := range []string{"debian", "w3"} {
		about := "load and unpack " + []string{"a Debian root", "40 000 small files"}[i]
		for _, c := range []cell{
			{name: "disk", about: about, verb: "load archive"},
			{name: "memory", about: about + ", on a memory file system", verb: "load in memory", inMemory: true},
		} {
			c.name, c.image, c.rounds = fmt.Sprintf("u%d/%s", i+1, c.name), image, 7
			c.names = func(p *peer, j *job) {
				j.archive, j.image = b.archive(image), "localhost/bench-"+image+":1"
			}
			c.each = func(p *peer, _ *job) error { return p.fresh() }
			c.floorEach = true
			c.check = b.checkUnpacked(image)
			c.floor = "tar -xf " + b.layerTar(image)
			all = append(all, &c)
		}
	}
	return all
}

// packCells are the works that are only packed: into an archive, from nothing.
func (b *bench) packCells() []*cell {
	var all []*cell
	for _, w := range work.Packs() {
		c := *b.buildCells(w)[buildModes-1] // as an archive
		c.name, c.verb = w.Name, "pack"
		all = append(all, &c)
	}
	return all
}

// archive is the Docker archive of an image's last layer alone; layerTar is that layer.
func (b *bench) archive(image string) string {
	return filepath.Join(b.bed.Memory, "archive-"+image+".tar")
}

func (b *bench) layerTar(image string) string {
	return filepath.Join(b.bed.Memory, "layer-"+image+".tar")
}

// makeArchives makes the archives of the images that are unpacked.
func (b *bench) makeArchives() error {
	for _, image := range []string{"debian", "w3"} {
		if img := b.images[image]; img != nil && b.needs("u") {
			if err := b.makeArchive(image, img.tars[len(img.tars)-1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeArchive writes a tar of config, manifest.json and the layer.
func (b *bench) makeArchive(image, layer string) error {
	dir := filepath.Join(b.bed.Memory, "archive")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f, err := os.Open(layer)
	if err != nil {
		return err
	}
	defer f.Close()
	id, err := digest.FromReader(f)
	if err != nil {
		return err
	}
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: architecture()},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{id}},
		History:  []ocispec.History{{CreatedBy: "bench"}},
	}
	manifest := []map[string]any{{"Config": "config.json", "RepoTags": []string{"localhost/bench-" + image + ":1"}, "Layers": []string{"layer.tar"}}}
	for name, v := range map[string]any{"config.json": config, "manifest.json": manifest} {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	script := `cp "$0" "$2" && ln -s "$2" "$1/layer.tar" && tar -C "$1" -h --owner=0 --group=0 -cf "$3" config.json manifest.json layer.tar`
	if out, err := exec.Command("sh", "-c", script, layer, dir, b.layerTar(image), b.archive(image)).CombinedOutput(); err != nil {
		return fmt.Errorf("make archive: %w: %s", err, out)
	}
	return nil
}

// checkUnpacked compares the files that lie in a peer's store now.
func (b *bench) checkUnpacked(image string) func(*peer, job) error {
	return func(p *peer, j job) error {
		want, err := tree.OfTarFile(b.layerTar(image))
		if err != nil {
			return err
		}
		j.file = filepath.Join(b.bed.Memory, "check.tar")
		if err := b.perform(p, "files", j); err != nil {
			return err
		}
		got, err := tree.OfTarFile(j.file)
		if err != nil {
			return err
		}
		return tree.Differ(want, got)
	}
}

// filesOf packs the folder that a pattern names: the one tree of a store.
func filesOf(pattern string) verb {
	const script = `set -- "$0" ` + "%s" + `; tar --sort=name --numeric-owner --format=gnu -C "$2" -cf "$1" .`
	return one(func(j job) []string { return []string{"sh", "-c", fmt.Sprintf(script, pattern), j.file} })
}

// inMemory is a peer whose store is in memory, for the cells that unpack there.
func inMemory(p *peer) *peer {
	p.verbs = map[string]verb{"load in memory": p.verbs["load archive"], "files": p.verbs["files"]}
	return p
}

// umociChain unpacks a layout that skopeo made of the archive (umoci takes compressed
// layers only), and makes a layer of a folder.
func (b *bench) umociChain(place string) *peer {
	root := filepath.Join(place, "umoci-chain")
	sh := func(script string) func(j job) []string {
		return func(j job) []string {
			return []string{"sh", "-ec", "cd " + root + "; " + script, j.archive, j.context, j.file}
		}
	}
	return &peer{
		name: "skopeo+umoci", needs: []string{"skopeo", "umoci"}, version: []string{"umoci", "--version"},
		about: "a chain of single tools", env: []string{"HOME=" + b.bed.Memory}, fresh: freshFolder(root),
		verbs: map[string]verb{
			"load archive": one(sh(`skopeo copy -q --insecure-policy --dest-compress-level=1 docker-archive:$0 oci:image:1; umoci unpack --image image:1 bundle`)),
			"files":        filesOf(root + "/bundle/rootfs"),
			"pack":         one(sh(`umoci init --layout image; umoci new --image image:1; umoci insert --image image:1 "$1/tree" /; tar -C image -cf "$2" .`)),
		},
	}
}
