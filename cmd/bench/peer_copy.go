package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/cmd/bench/bed"
)

// skopeo moves images and keeps them as they are, in an OCI layout.
func (b *bench) skopeo() *peer {
	root := filepath.Join(b.bed.Disk, "skopeo")
	copies := func(from, to string) []string {
		return []string{"skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", from, to}
	}
	return &peer{
		name: "skopeo", needs: []string{"skopeo"}, version: []string{"skopeo", "--version"},
		about: "copies blobs, unpacks nothing", packed: true, env: []string{"HOME=" + b.bed.Memory}, fresh: freshFolder(root),
		verbs: map[string]verb{
			"pull": one(func(j job) []string { return copies("docker://"+j.image, "oci:"+root+"/image:1") }),
			"push": one(func(j job) []string { return copies("oci:"+root+"/image:1", "docker://"+j.to) }),
			"copy": one(func(j job) []string { return copies("docker://"+j.image, "docker://"+j.to) }),
			"save": one(func(j job) []string { return []string{"ln", "-s", root + "/image", j.file} }),
		},
	}
}

func (b *bench) crane() *peer {
	root := filepath.Join(b.bed.Disk, "crane")
	return &peer{
		name: "crane", needs: []string{"crane"}, version: []string{"crane", "version"},
		about: "copies blobs, unpacks nothing", packed: true, env: []string{"HOME=" + b.bed.Memory}, fresh: freshFolder(root),
		verbs: map[string]verb{
			"pull": one(func(j job) []string {
				return []string{"crane", "pull", "--insecure", "--format=oci", j.image, root + "/image"}
			}),
			"push": one(func(j job) []string { return []string{"crane", "push", "--insecure", root + "/image", j.to} }),
			"copy": one(func(j job) []string { return []string{"crane", "copy", "--insecure", j.image, j.to} }),
			"save": one(func(j job) []string { return []string{"ln", "-s", root + "/image", j.file} }),
		},
	}
}

// umoci unpacks what skopeo fetched, for crun: a chain of single tools.
func (b *bench) umoci() *peer {
	root := filepath.Join(b.bed.Disk, "umoci")
	script := `skopeo copy -q --insecure-policy --src-tls-verify=false docker://$0 oci:image:1 && umoci unpack --image image:1 bundle && ` +
		`sed -i 's/"terminal": true/"terminal": false/; s,"/umoci[^"]*","/` + bed.Group + `/umoci",' bundle/config.json && exec crun run -b bundle bench-umoci`
	return &peer{
		name: "skopeo+umoci+crun", needs: []string{"skopeo", "umoci", "crun"}, version: []string{"umoci", "--version"},
		about: "a chain of single tools", env: []string{"HOME=" + b.bed.Memory}, fresh: freshFolder(root),
		verbs: map[string]verb{
			"run absent": one(func(j job) []string { return []string{"sh", "-c", "cd " + root + " && " + script, j.image} }),
		},
	}
}

// runtime is a low-level runtime with a bundle that was unpacked before: no
// image, no overlay.
func (b *bench) runtime(name string) *peer {
	root := filepath.Join(b.bed.Disk, name)
	c := func(words ...string) []string {
		return append([]string{name, "--root", root + "/state"}, words...)
	}
	p := &peer{
		name: name, needs: []string{name, "runc"}, version: []string{name, "--version"},
		about: "from a prepared bundle: no image, no overlay, no seccomp filter", fresh: func() error { return nil },
		verbs: map[string]verb{
			"run":   one(func(j job) []string { return c("run", "-b", root+"/true", "bench-"+filepath.Base(j.folder)) }),
			"show":  one(func(j job) []string { return c("run", "-b", root+"/show", "bench-show") }),
			"start": one(func(j job) []string { return c("run", "-d", "-b", root+"/sleep", "bench-sleep") }),
			"exec":  one(func(j job) []string { return c("exec", "bench-sleep", "true") }),
			"stop":  one(func(j job) []string { return c("delete", "-f", "bench-sleep") }),
		},
	}
	p.start = func() error {
		rootfs := filepath.Join(root, "rootfs")
		if err := os.MkdirAll(rootfs, 0o755); err != nil {
			return err
		}
		if out, err := exec.Command("tar", "-C", rootfs, "-xf", b.baseTar).CombinedOutput(); err != nil {
			return fmt.Errorf("tar: %w: %s", err, out)
		}
		for bundle, args := range map[string][]string{"true": {"true"}, "show": {"sh", "-c", showScript}, "sleep": {"sleep", "1000"}} {
			if err := makeBundle(filepath.Join(root, bundle), rootfs, args); err != nil {
				return err
			}
		}
		return nil
	}
	return p
}

// makeBundle writes runc's own default spec for these words.
func makeBundle(dir, rootfs string, args []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("runc", "spec")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil && !strings.Contains(string(out), "exists") {
		return fmt.Errorf("runc spec: %w: %s", err, out)
	}
	config := filepath.Join(dir, "config.json")
	var spec map[string]any
	if err := readJSON(config, &spec); err != nil {
		return err
	}
	process := spec["process"].(map[string]any)
	process["args"], process["terminal"] = args, false
	spec["root"] = map[string]any{"path": rootfs}
	out, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(config, out, 0o644)
}
