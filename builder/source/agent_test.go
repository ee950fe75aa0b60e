package source

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestGitWithKeyFile: a repository behind a server that wants a key is fetched with one from a file, and not without.
func TestGitWithKeyFile(t *testing.T) {
	for _, tool := range []string{"git", "ssh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs " + tool)
		}
	}
	dir := t.TempDir()
	repo := filepath.Join(dir, "repo")
	write(t, filepath.Join(repo, "hello"), "by key\n", 0o644)
	for _, args := range []string{"init -q", "add .", "-c user.name=a -c user.email=a@b commit -qm one"} {
		if out, err := exec.Command("git", append([]string{"-C", repo}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %s: %s", args, out)
		}
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key")
	write(t, key, string(pem.EncodeToMemory(block)), 0o600)
	real, _ := exec.LookPath("ssh")
	write(t, filepath.Join(dir, "bin/ssh"), "#!/bin/sh\nexec "+real+" -F none -o IdentityFile=none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \"$@\"\n", 0o755)
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	git, err := ParseGit(fmt.Sprintf("ssh://git@%s%s", gitServer(t, public), repo))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := git.Checkout(t.Context(), GitOptions{Tmp: dir}); err == nil {
		t.Fatal("fetched without a key")
	}
	agent, err := OpenAgent([]string{key}, false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := git.Checkout(t.Context(), GitOptions{Tmp: dir, SSHAgent: agent})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(c.dir, "work/hello")); string(got) != "by key\n" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(dir + "/git-*"); len(left) > 0 {
		t.Fatalf("%v is left", left)
	}
	if _, err := agent.Relay(t.Context(), filepath.Join(dir, strings.Repeat("n", 100))); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Fatalf("a long name: %v", err)
	}
}

// gitServer serves the repositories of this machine to whoever has the key.
func gitServer(t *testing.T, key ed25519.PublicKey) (addr string) {
	t.Helper()
	want, err := ssh.NewPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	conf := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, got ssh.PublicKey) (*ssh.Permissions, error) {
		if string(got.Marshal()) != string(want.Marshal()) {
			return nil, fmt.Errorf("another key")
		}
		return nil, nil
	}}
	_, private, _ := ed25519.GenerateKey(nil)
	host, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	conf.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go gitConn(t.Context(), c, conf)
		}
	}()
	return l.Addr().String()
}

func gitConn(ctx context.Context, c net.Conn, conf *ssh.ServerConfig) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, conf)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		ch, requests, err := channel.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			r.Reply(r.Type == "exec", nil)
			if r.Type != "exec" {
				continue
			}
			cmd := exec.CommandContext(ctx, "sh", "-c", string(r.Payload[4:]))
			cmd.Stdin, cmd.Stdout = ch, ch
			cmd.Run()
			ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
			ch.Close()
		}
	}
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
