package main

import (
	"slices"

	"github.com/urfave/cli/v2"
)

// leaves are all commands that do something, by their full names.
func leaves() map[string]*cli.Command {
	found := map[string]*cli.Command{}
	for _, cmd := range (&app{}).cli().Commands {
		if len(cmd.Subcommands) == 0 {
			found[cmd.Name] = cmd
		}
		for _, sub := range cmd.Subcommands {
			found[cmd.Name+" "+sub.Name] = sub
		}
	}
	return found
}

// allVariables are the environment variables that the program reads.
func allVariables() []string {
	names := []string{"HALOINGEST_TOKEN", "HALOINGEST_WEBHOOK_SECRET", "HALOINGEST_MASTER_KEY", "HALOINGEST_OLD_MASTER_KEY", "HALOINGEST_MODEL_KEY",
		"HALOINGEST_METRICS_TOKEN", "HALOINGEST_OIDC_CLIENT_SECRET"}
	for _, cmd := range leaves() {
		for _, flag := range cmd.Flags {
			if f, ok := flag.(cli.DocGenerationFlag); ok {
				names = append(names, f.GetEnvVars()...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
