package plan

import (
	"regexp"
	"strings"
	"sync"
)

// imageName is compiled when it is needed: not every start of hod plans a build.
var imageName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/|\[[0-9a-fA-F:]+\](?::[0-9]+)?/)?` +
		`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*` +
		`(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z0-9]+)*:[0-9a-fA-F]{32,})?$`)
})

// ValidName says whether s can be the name of an image.
func ValidName(s string) bool { return len(s) < 4096 && imageName().MatchString(s) }

// NormalName writes the name of an image in full, as docker.io/library/alpine:latest; what is not a valid name is
// returned as it is.
func NormalName(s string) string {
	if !ValidName(s) {
		return s
	}
	registry, rest, ok := strings.Cut(s, "/")
	if !ok || !strings.ContainsAny(registry, ".:") && registry != "localhost" && registry == strings.ToLower(registry) {
		registry, rest = "docker.io", s
	}
	if registry == "index.docker.io" {
		registry = "docker.io"
	}
	if registry == "docker.io" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	if !strings.ContainsAny(rest, ":@") {
		rest += ":latest"
	}
	return registry + "/" + rest
}
