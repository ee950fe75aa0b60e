package main

import "github.com/urfave/cli/v2"

// group is verbs that belong together on the help page.
type group struct {
	title    string
	commands []*cli.Command
}

// groups is every verb, in the order of the help page.
func groups() []group {
	return []group{
		{"Containers", append([]*cli.Command{
			runCommand(), createCommand(), startCommand(), restartCommand(), attachCommand(), execCommand(), psCommand(), logsCommand(),
			portCommand(), statsCommand(), topCommand(), volumeCommand(), monitorCommand(), specCommand(),
		}, lifeVerbs()...)},
		{"Images", []*cli.Command{
			buildCommand(), importCommand(), imagesCommand(), tagCommand(), rmiCommand(), inspectCommand(), historyCommand(),
			saveCommand(), loadCommand(), exportCommand(),
		}},
		{"Registries", append([]*cli.Command{
			pullCommand(), pushCommand(), copyCommand(), manifestCommand(), loginCommand(), logoutCommand(), serveCommand(), tagsCommand(),
		}, remoteVerbs()...)},
		{"Store", []*cli.Command{
			dfCommand(), pruneCommand(), fsckCommand(), whyCommand(),
		}},
		{"hod", []*cli.Command{
			versionCommand(), completionCommand(),
		}},
	}
}
