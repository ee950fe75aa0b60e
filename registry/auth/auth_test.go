package auth

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// files writes a config.json and gives Files that read it.
func files(t *testing.T, content string) Files {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return Files{Paths: []string{path}, Login: path}
}

// helper puts a credential helper into PATH: a script.
func helper(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestLookupSendsNoCredentialToAnotherHost(t *testing.T) {
	f := files(t, `{"auths":{
		"registry.io": {"auth":"dTpob3N0"},
		"registry.io/team": {"auth":"dTp0ZWFt"},
		"registry.io/team/app": {"auth":"dTphcHA="},
		"registry.io:5000": {"auth":"dTpwb3J0"},
		"https://old.io/v1/": {"auth":"dTpvbGQ="},
		"https://index.docker.io/v1/": {"auth":"dTpodWI="}}}`)
	for _, row := range []struct{ registry, repository, want string }{
		{"registry.io", "", "host"}, {"registry.io", "other", "host"}, {"registry.io", "teamwork/app", "host"},
		{"registry.io", "team/x", "team"}, {"registry.io", "team", "team"},
		{"registry.io", "team/app", "app"}, {"registry.io", "team/app/deep", "app"}, {"registry.io", "team/apps", "team"},
		{"registry.io:5000", "team/app", "port"}, {"REGISTRY.io", "", "host"},
		{"registry.io:443", "", ""}, {"registry.io.evil", "", ""}, {"evil.registry.io", "", ""}, {"evil.io", "registry.io", ""},
		{"old.io", "x/y", "old"}, {"old.io:5000", "", ""},
		{"docker.io", "library/alpine", "hub"}, {"index.docker.io", "a/b", "hub"}, {"notdocker.io", "", ""},
	} {
		c, err := f.Lookup(context.Background(), row.registry, row.repository)
		if err != nil || c.Password != row.want {
			t.Errorf("%s/%s: got %q, %v, want %q", row.registry, row.repository, c.Password, err, row.want)
		}
	}
}

func TestLookupFormsOfEntries(t *testing.T) {
	f := files(t, `{"auths":{
		"plain.io": {"username":"u","password":"p"},
		"identity.io": {"auth":"dTo=","identitytoken":"refresh"},
		"token.io": {"registrytoken":"bearer"},
		"empty.io": {},
		"colon.io": {"auth":"dTphOmI="}}}`)
	for registry, want := range map[string]Credential{
		"plain.io":    {User: "u", Password: "p"},
		"identity.io": {User: "u", Identity: "refresh"},
		"token.io":    {Token: "bearer"},
		"empty.io":    {},
		"colon.io":    {User: "u", Password: "a:b"},
	} {
		if got, err := f.Lookup(context.Background(), registry, ""); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", registry, got, err, want)
		}
	}
}

func TestLookupRefusesBrokenFilesWithoutShowingThem(t *testing.T) {
	for _, content := range []string{
		`{"auths":{"x.io":{"auth":"c2VjcmV0!!"}}}`, `{"auths":{"x.io":{"auth":"c2VjcmV0"}}}`,
		`{"auths":{"x.io":{"auth":["c2VjcmV0"]}}}`, `{"auths":"c2VjcmV0"}`, `c2VjcmV0`,
	} {
		_, err := files(t, content).Lookup(context.Background(), "x.io", "")
		if err == nil || strings.Contains(err.Error(), "c2VjcmV0") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", content, err)
		}
	}
}

func TestHelperGoesBeforeTheFile(t *testing.T) {
	helper(t, "one", `read s; echo "{\"Username\":\"<token>\",\"Secret\":\"one-$s\"}"`)
	helper(t, "all", `read s; case $s in known.io) echo '{"Username":"u","Secret":"all"}';; *) echo "credentials not found in native keychain"; exit 1;; esac`)
	f := files(t, `{"credsStore":"all","credHelpers":{"one.io":"one"},"auths":{"one.io":{"auth":"dTpmaWxl"},"file.io":{"auth":"dTpmaWxl"}}}`)
	for registry, want := range map[string]Credential{
		"one.io":   {Identity: "one-one.io"},
		"known.io": {User: "u", Password: "all"},
		"file.io":  {User: "u", Password: "file"},
		"none.io":  {},
	} {
		if got, err := f.Lookup(context.Background(), registry, ""); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", registry, got, err, want)
		}
	}
}

func TestHelperThatFailsIsAnError(t *testing.T) {
	helper(t, "crash", `echo leaked-secret; echo leaked-secret >&2; exit 3`)
	helper(t, "chatty", `while :; do echo leaked-secret leaked-secret leaked-secret leaked-secret; done`)
	helper(t, "html", `echo "<html>leaked-secret"`)
	for _, name := range []string{"crash", "chatty", "html", "absent", "../evil", "/bin/sh", "a/b", ""} {
		f := files(t, `{"credHelpers":{"x.io":"`+name+`"},"auths":{"x.io":{"auth":"dTpmaWxl"}}}`)
		ctx, cancel := context.WithTimeout(context.Background(), helperTime/4)
		c, err := f.Lookup(ctx, "x.io", "")
		if ctx.Err() != nil {
			t.Errorf("helper %q: it was stopped by time and not by what it did", name)
		}
		cancel()
		if err == nil || !c.Anonymous() || strings.Contains(err.Error(), "leaked-secret") {
			t.Errorf("helper %q: %+v, %v", name, c, err)
		}
	}
}

func TestHelperOfARelativePathIsNotRun(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("docker-credential-near", []byte("#!/bin/sh\ntouch ran\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", ".", ":/bin"} {
		t.Setenv("PATH", path)
		if _, err := ask(context.Background(), "near", "x.io"); err == nil {
			t.Errorf("PATH=%q: it was run", path)
		}
	}
	if _, err := os.Stat("ran"); err == nil {
		t.Error("it was run")
	}
}

func TestSaveAndErase(t *testing.T) {
	ctx := context.Background()
	f := files(t, `{"psFormat":"x","auths":{"https://a.io/v1/":{"auth":"dTpvbGQ="},"a.io/team":{"auth":"dTp0ZWFt"},"b.io":{"auth":"dTpi","email":"kept"}}}`)
	if _, err := f.Save(ctx, "a.io", Credential{User: "u", Password: "p:q"}); err != nil {
		t.Fatal(err)
	}
	if c, err := f.Lookup(ctx, "a.io", "x"); err != nil || c.Password != "p:q" {
		t.Fatalf("after Save: %+v, %v", c, err)
	}
	data, _ := os.ReadFile(f.Login)
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil || doc["psFormat"] != "x" || !strings.Contains(string(data), "kept") {
		t.Errorf("Save lost what others wrote: %s", data)
	}
	if info, err := os.Stat(f.Login); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if had, err := f.Erase(ctx, "a.io"); err != nil || !had {
		t.Fatalf("Erase: %v, %v", had, err)
	}
	if had, err := f.Erase(ctx, "a.io"); err != nil || had {
		t.Fatalf("second Erase: %v, %v", had, err)
	}
	for repository, want := range map[string]string{"x": "", "team/x": "team"} {
		if c, err := f.Lookup(ctx, "a.io", repository); err != nil || c.Password != want {
			t.Errorf("after Erase, %s: %+v, %v", repository, c, err)
		}
	}
	entries, _ := os.ReadDir(filepath.Dir(f.Login))
	if len(entries) != 1 {
		t.Errorf("files are left: %v", entries)
	}
}

func TestSaveThroughAHelper(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "kept")
	helper(t, "file", `case $1 in
store) cat > `+kept+`;;
get) test -f `+kept+` && cat `+kept+` || { echo "credentials not found in native keychain"; exit 1; };;
erase) rm `+kept+`;;
esac`)
	ctx, f := context.Background(), files(t, `{"credsStore":"file"}`)
	if _, err := f.Save(ctx, "docker.io", Credential{User: "u", Password: "p"}); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(f.Login)
	if strings.Contains(string(data), "auths") {
		t.Errorf("the file holds it too: %s", data)
	}
	if c, err := f.Lookup(ctx, "docker.io", "x"); err != nil || c.Password != "p" {
		t.Errorf("Lookup: %+v, %v", c, err)
	}
	if had, err := f.Erase(ctx, "docker.io"); err != nil || !had {
		t.Errorf("Erase: %v, %v", had, err)
	}
}

// TestInlineGoesFirst has credentials in a variable, and others in a file.
func TestInlineGoesFirst(t *testing.T) {
	f := files(t, `{"auths":{"a.io":{"auth":"dTpmaWxl"},"b.io":{"auth":"dTpmaWxl"}}}`)
	env := map[string]string{"DOCKER_AUTH_CONFIG": `{"auths":{"a.io":{"auth":"dTplbnY="}}}`}
	f.Inline = fromEnv(func(k string) string { return env[k] }, "/home").Inline
	for registry, want := range map[string]string{"a.io": "env", "b.io": "file", "c.io": ""} {
		if c, err := f.Lookup(context.Background(), registry, ""); err != nil || c.Password != want {
			t.Errorf("%s: %+v, %v", registry, c, err)
		}
	}
	f.Inline = "{secret"
	if _, err := f.Lookup(context.Background(), "b.io", ""); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "DOCKER_AUTH_CONFIG") {
		t.Errorf("what is no JSON: %v", err)
	}
}

func TestFilesFromTheEnvironment(t *testing.T) {
	env := map[string]string{"REGISTRY_AUTH_FILE": "/own", "DOCKER_CONFIG": "/docker", "XDG_RUNTIME_DIR": "/run/u", "XDG_CONFIG_HOME": "/config"}
	f := fromEnv(func(k string) string { return env[k] }, "/home")
	want := "/own /docker/config.json /run/u/containers/auth.json /config/containers/auth.json"
	if got := strings.Join(f.Paths, " "); got != want || f.Login != "/own" {
		t.Errorf("got %s, login %s", got, f.Login)
	}
}
