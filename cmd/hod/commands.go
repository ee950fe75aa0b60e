package main

import (
	"slices"

	"github.com/urfave/cli/v2"
)

// verb is a command by its name. Only the one that is called is made: the flags
// of all together are a third of what a start allocates.
type verb struct {
	name string
	make func() *cli.Command
}

// group is verbs that belong together on the help page.
type group struct {
	title string
	verbs []verb
}

// groups is every verb, in the order of the help page.
func groups() []group {
	return []group{
		{"Images", []verb{
			{"build", buildCommand}, {"import", importCommand}, {"images", imagesCommand}, {"tag", tagCommand}, {"rmi", rmiCommand},
			{"inspect", inspectCommand}, {"history", historyCommand}, {"save", saveCommand}, {"load", loadCommand}, {"export", exportCommand},
		}},
		{"Containers", containerVerbs()},
		{"Registries", append([]verb{
			{"pull", pullCommand}, {"push", pushCommand}, {"copy", copyCommand}, {"manifest", manifestCommand},
			{"login", loginCommand}, {"logout", logoutCommand}, {"serve", serveCommand}, {"tags", tagsCommand},
		}, among(remoteVerbs, "catalog", "digest", "config", "blob", "referrers", "delete")...)},
		{"Store", []verb{{"df", dfCommand}, {"prune", pruneCommand}, {"fsck", fsckCommand}, {"why", whyCommand}}},
		{"hod", append(machineVerbs(), verb{"version", versionCommand}, verb{"completion", completionCommand})},
	}
}

// among gives the verbs of a list that is made at once.
func among(list func() []*cli.Command, names ...string) []verb {
	var verbs []verb
	for _, name := range names {
		verbs = append(verbs, verb{name, func() *cli.Command { return find(list(), name) }})
	}
	return verbs
}

// verbNames are the names of all verbs, in the order of the help page.
func verbNames() []string {
	var names []string
	for _, g := range groups() {
		for _, v := range g.verbs {
			names = append(names, v.name)
		}
	}
	return names
}

// makeVerb makes the command of that name, or nil.
func makeVerb(name string) *cli.Command {
	for _, g := range groups() {
		if i := slices.IndexFunc(g.verbs, func(v verb) bool { return v.name == name }); i >= 0 {
			return quiet(g.verbs[i].make())
		}
	}
	if grouped[name] != nil {
		return groupCommand(name)
	}
	return nil
}
