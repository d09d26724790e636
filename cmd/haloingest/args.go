package main

import (
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute moves the flags of a command line in front of its operands, because the flag package stops
// at the first operand and people write `diff intercom postgres --org ID`. Everything behind "--"
// stays an operand.
//
// `help connect` is taken for `connect --help`.
func permute(root *cli.App, args []string) []string {
	if len(args) > 0 && args[0] == "help" {
		args = append(append([]string{}, args[1:]...), "--help")
	}
	path, rest, known := command(root, args)
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

// command finds the words that name the command, wherever they stand among the flags, and returns them, the
// other words, and the command's flags.
func command(root *cli.App, args []string) (path, rest []string, known []cli.Flag) {
	commands := root.Commands
	for i, arg := range args {
		if arg == "--" {
			return path, append(rest, args[i:]...), known
		}
		cmd := find(commands, arg)
		if cmd == nil || strings.HasPrefix(arg, "-") {
			if len(path) == 0 && !strings.HasPrefix(arg, "-") {
				// Neither a flag nor a command: it may be the value of a flag that stands before the command.
				if i == 0 || !strings.HasPrefix(args[i-1], "-") {
					return nil, args, nil
				}
			}
			rest = append(rest, arg)
			continue
		}
		path = append(path, arg)
		commands, known = cmd.Subcommands, cmd.Flags
	}
	return path, rest, known
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, cmd := range commands {
		if cmd.HasName(name) {
			return cmd
		}
	}
	return nil
}

// wantsJSON looks for --json before anything is parsed, so that a command line that does not parse is
// answered in JSON as well.
func wantsJSON(args []string) bool {
	if b, err := strconv.ParseBool(os.Getenv(envPrefix + "JSON")); err == nil && b {
		return true
	}
	for _, arg := range args {
		if arg == "--" {
			break
		}
		name, value, set := strings.Cut(arg, "=")
		if name == "--json" || name == "-json" {
			b, err := strconv.ParseBool(value)
			return !set || err != nil || b
		}
	}
	return false
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
