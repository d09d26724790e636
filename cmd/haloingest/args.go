package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// permute moves the flags of a command line in front of its operands, because the flag package stops
// at the first operand and people write `diff intercom postgres --org ID`. Everything behind "--"
// stays an operand.
func permute(root *cli.App, args []string) []string {
	path, rest := []string{}, args
	commands, known := root.Commands, []cli.Flag(nil)
	for len(rest) > 0 {
		cmd := find(commands, rest[0])
		if cmd == nil {
			break
		}
		path, rest = append(path, rest[0]), rest[1:]
		commands, known = cmd.Subcommands, cmd.Flags
	}
	if len(path) == 0 {
		return args
	}
	var flags, operands []string
	for len(rest) > 0 {
		arg := rest[0]
		rest = rest[1:]
		switch {
		case arg == "--":
			operands, rest = append(operands, rest...), nil
		case len(arg) < 2 || arg[0] != '-':
			operands = append(operands, arg)
		default:
			flags = append(flags, arg)
			if takesValue(known, arg) && len(rest) > 0 {
				flags, rest = append(flags, rest[0]), rest[1:]
			}
		}
	}
	out := append(path, flags...)
	if len(operands) > 0 {
		out = append(append(out, "--"), operands...)
	}
	return out
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, cmd := range commands {
		if cmd.HasName(name) {
			return cmd
		}
	}
	return nil
}

// takesValue reports whether a flag as written wants the next argument as its value. Unknown flags do
// not: the parser names them.
func takesValue(known []cli.Flag, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, flag := range known {
		for _, n := range flag.Names() {
			if n == name {
				_, isBool := flag.(*cli.BoolFlag)
				return !isBool
			}
		}
	}
	return false
}
