package registry

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/registry/server"
)

// tool finds a program, or skips the test by its name.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/local/bin"} { // Debian's before others of the same name
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// module builds a program of a Go module outside of ours, once for all runs.
func module(t *testing.T, at string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no folder to build %s in: %v", at, err)
	}
	dir := filepath.Join(cache, "hod-test", strings.NewReplacer("/", "_", "@", "_").Replace(at))
	path, _, _ := strings.Cut(at, "@")
	bin := filepath.Join(dir, filepath.Base(path))
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	if strings.Contains(at, "distribution") && os.Getenv("HOD_TEST_FULL") == "" {
		t.Skipf("%s takes minutes to build: HOD_TEST_FULL=1 does", at)
	}
	cmd := exec.Command("go", "install", at)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod", "CGO_ENABLED=0")
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s cannot be built: %v\n%s", at, err, out)
	}
	return bin
}

// run runs a program, in which NAME=VALUE words before the program are its
// environment, and gives what it printed.
func run(t *testing.T, words ...string) string {
	t.Helper()
	out, err := runs(words...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func runs(words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "HOME=/nonexistent", "XDG_RUNTIME_DIR=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// seeded is a server of ours with an image of two layers at seed:latest.
func seeded(t *testing.T) (host string) {
	t.Helper()
	s := server.New(openStore(t), server.Options{})
	pushImage(t, s, "seed", 200000, 3000)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// same checks that a name has the config of seed, and how often its manifest is
// seed's to the byte.
func same(t *testing.T, host, name string, bytes bool) {
	t.Helper()
	c, ctx := New(Options{}), context.Background()
	want, err := c.Resolve(ctx, host+"/seed", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Resolve(ctx, host+"/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Manifest.Config.Digest != want.Manifest.Config.Digest || bytes && got.Desc.Digest != want.Desc.Digest {
		t.Errorf("%s is %s of %s, want %s of %s", name, got.Desc.Digest, got.Manifest.Config.Digest, want.Desc.Digest, want.Manifest.Config.Digest)
	}
}

// TestSkopeoSpeaksToUs copies, lists, inspects and deletes.
func TestSkopeoSpeaksToUs(t *testing.T) {
	skopeo, host, dir := tool(t, "skopeo"), seeded(t), t.TempDir()
	at := "docker://" + host
	run(t, skopeo, "copy", "--src-tls-verify=false", "--dest-tls-verify=false", at+"/seed", at+"/sk/app:1")
	same(t, host, "sk/app:1", true)
	run(t, skopeo, "copy", "--src-tls-verify=false", at+"/sk/app:1", "oci:"+dir+":x")
	run(t, skopeo, "copy", "--dest-tls-verify=false", "oci:"+dir+":x", at+"/sk/app:2")
	same(t, host, "sk/app:2", true)
	if out := run(t, skopeo, "list-tags", "--tls-verify=false", at+"/sk/app"); !strings.Contains(out, `"2"`) {
		t.Errorf("tags: %s", out)
	}
	run(t, skopeo, "delete", "--tls-verify=false", at+"/sk/app:1")
	if _, err := runs(skopeo, "inspect", "--tls-verify=false", at+"/sk/app:1"); err == nil {
		t.Error("what was deleted is there")
	}
}

// TestPodmanAndBuildahSpeakToUs pull and push.
func TestPodmanAndBuildahSpeakToUs(t *testing.T) {
	needRoot(t)
	host := seeded(t)
	dir, err := os.MkdirTemp("", "hod") // podman wants a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, name := range []string{"podman", "buildah"} {
		t.Run(name, func(t *testing.T) {
			base := []string{tool(t, name), "--root", filepath.Join(dir, name), "--runroot", filepath.Join(dir, name+"run"), "--storage-driver", "vfs"}
			do := func(words ...string) string { return run(t, append(base[:len(base):len(base)], words...)...) }
			do("pull", "-q", "--tls-verify=false", host+"/seed")
			do("tag", host+"/seed", host+"/"+name+"/app:1")
			do("push", "-q", "--tls-verify=false", host+"/"+name+"/app:1")
			same(t, host, name+"/app:1", false)
		})
	}
}

// TestCraneSpeaksToUs copies, pulls, pushes, lists and deletes.
func TestCraneSpeaksToUs(t *testing.T) {
	crane, host := module(t, "github.com/google/go-containerregistry/cmd/crane@v0.22.1"), seeded(t)
	file := filepath.Join(t.TempDir(), "layout")
	run(t, crane, "copy", host+"/seed", host+"/cr/app:1")
	same(t, host, "cr/app:1", true)
	run(t, crane, "pull", "--format", "oci", host+"/cr/app:1", file)
	run(t, crane, "push", file, host+"/cr/app:2")
	if out := run(t, crane, "ls", host+"/cr/app"); out != "1\n2" {
		t.Errorf("tags %q", out)
	}
	if out := run(t, crane, "catalog", host); !strings.Contains(out, "cr/app") {
		t.Errorf("catalog %q", out)
	}
	run(t, crane, "delete", host+"/cr/app:1")
	if _, err := runs(crane, "digest", host+"/cr/app:1"); err == nil {
		t.Error("what was deleted is there")
	}
}

// TestDockerSpeaksToUs pulls and pushes with a daemon of its own.
func TestDockerSpeaksToUs(t *testing.T) {
	needRoot(t)
	daemon, docker := tool(t, "dockerd"), tool(t, "docker")
	host, dir := seeded(t), t.TempDir()
	socket := "unix://" + filepath.Join(dir, "sock")
	cmd := exec.Command(daemon, "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "-H", socket,
		"--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs")
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Skipf("dockerd: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	for tries := 0; ; tries++ {
		if _, err := runs(docker, "-H", socket, "version"); err == nil {
			break
		}
		if tries > 200 {
			t.Skipf("dockerd does not answer: %s", said.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
	run(t, docker, "-H", socket, "pull", "-q", host+"/seed")
	run(t, docker, "-H", socket, "tag", host+"/seed", host+"/dk/app:1")
	run(t, docker, "-H", socket, "push", "-q", host+"/dk/app:1")
	same(t, host, "dk/app:1", false)
}

// listening waits for a server and gives its address.
func listening(t *testing.T, cmd *exec.Cmd, addr string) {
	t.Helper()
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 200 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%s does not listen: %s", cmd.Path, said.String())
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// others are servers that are not ours, and how they are started.
var others = map[string]func(t *testing.T, addr string) *exec.Cmd{
	"docker-registry": func(t *testing.T, addr string) *exec.Cmd {
		return distribution(t, tool(t, "docker-registry"), addr)
	},
	"distribution": func(t *testing.T, addr string) *exec.Cmd {
		return distribution(t, module(t, "github.com/distribution/distribution/v3/cmd/registry@v3.1.1"), addr)
	},
	"go-containerregistry": func(t *testing.T, addr string) *exec.Cmd {
		_, port, _ := net.SplitHostPort(addr)
		return exec.Command(module(t, "github.com/google/go-containerregistry/cmd/registry@v0.22.1"), "-port", port)
	},
}

func distribution(t *testing.T, bin, addr string) *exec.Cmd {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  delete: {enabled: true}\n  filesystem: {rootdirectory: %s}\nhttp: {addr: %q}\n", t.TempDir(), addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return exec.Command(bin, "serve", config)
}

// TestWeSpeakToOthers copies to, between and from servers of others: push, pull,
// links, referrers, tags, deletes, and an upload that goes on after a kill.
func TestWeSpeakToOthers(t *testing.T) {
	needRoot(t)
	for name, start := range others {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			listening(t, start(t, addr), addr)
			speak(t, addr)
			resumeOn(t, addr, name == "distribution") // the others forget an upload that broke off
		})
	}
}

func speak(t *testing.T, addr string) {
	mine := server.New(openStore(t), server.Options{})
	pushImage(t, mine, "seed", 3<<20, 3000)
	srv := httptest.NewServer(mine)
	defer srv.Close()
	ctx, store, c := context.Background(), openStore(t), New(Options{})
	seed := strings.TrimPrefix(srv.URL, "http://") + "/seed"
	desc, _, err := c.Manifest(ctx, seed)
	if err != nil {
		t.Fatal(err)
	}
	refer(t, mine, "seed", desc, "")
	place := func(name string) Place { return Place{Kind: "registry", Name: name} }
	if _, err := c.Copy(ctx, store, place(seed+":latest"), place(addr+"/a/app:1"), CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if list, err := c.Referrers(ctx, addr+"/a/app:1"); err != nil || len(list) != 1 {
		t.Errorf("referrers: %v, %v", list, err)
	}
	if _, err := c.Copy(ctx, store, place(addr+"/a/app:1"), place(addr+"/b/app:1"), CopyOptions{}); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Pull(ctx, store, addr+"/b/app:1", PullOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := c.PushAs(ctx, store, addr+"/b/app:1", addr+"/c/app:2", PushOptions{})
	if err != nil || got.Digest != desc.Digest {
		t.Errorf("push: %v, %v", got.Digest, err)
	}
	if tags, err := c.Tags(ctx, addr+"/c/app"); err != nil || fmt.Sprint(tags) != "[2]" {
		t.Errorf("tags: %v, %v", tags, err)
	}
	if repos, err := c.Repositories(ctx, addr); err != nil || len(repos) < 3 {
		t.Errorf("repositories: %v, %v", repos, err)
	}
	if err := c.Delete(ctx, addr+"/c/app@"+string(desc.Digest)); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// resumeOn kills the process that sends a blob to a server: again and again where
// the server keeps what it got, else once.
func resumeOn(t *testing.T, addr string, keeps bool) {
	t.Helper()
	store := openStore(t)
	d := randomBlob(t, store, movedSize)
	log := filepath.Join(t.TempDir(), "log")
	env := []string{"HOD_MOVE=up", "HOD_MOVE_STORE=" + store.Root(), "HOD_MOVE_NAME=" + slowly(t, addr) + "/moved@" + string(d), "HOD_MOVE_LOG=" + log}
	if !keeps {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), env...)
		if err := cmd.Run(); err == nil {
			t.Error("the process was not killed")
		}
		env = append(env, "HOD_MOVE_SPARE=yes")
	}
	if killed := moveOn(t, env...); keeps && killed < 2 {
		t.Errorf("%d kills", killed)
	}
	if err := New(Options{}).CopyBlob(context.Background(), &strings.Builder{}, addr+"/moved@"+string(d)); err != nil {
		t.Error(err)
	}
}
