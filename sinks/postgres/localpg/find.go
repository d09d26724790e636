package localpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// MinMajor is the oldest PostgreSQL that is accepted: 14 brought lz4 TOAST compression and SCRAM as the default.
const MinMajor = 14

// The environment variables that say where PostgreSQL is.
const (
	// EnvBin names the folder with postgres and initdb. When set, nothing else is looked at.
	EnvBin = "HALOINGEST_PG_BIN"
	// EnvSearch replaces the places where an installed PostgreSQL is looked for: a list of folders or glob patterns, separated like
	// PATH. The private folder (CacheDir) is searched all the same. Tests use it to hide what the machine has.
	EnvSearch = "HALOINGEST_PG_SEARCH"
	// EnvCache replaces CacheDir.
	EnvCache = "HALOINGEST_PG_CACHE"
)

// ErrNotFound is returned (wrapped) by Find and Start when the machine has no PostgreSQL that can be used. The text of the wrapping
// error says what to do about it.
var ErrNotFound = errors.New("no usable PostgreSQL found")

// Binaries is one installation of PostgreSQL.
type Binaries struct {
	Dir     string // the folder with postgres and initdb
	Version string // "15.18"
	Major   int
}

// Find returns the installations of PostgreSQL on this machine that can be used, best first: the one on PATH, then the newest.
// It returns an error wrapping ErrNotFound rather than an empty list.
func Find(ctx context.Context) ([]Binaries, error) {
	if dir := os.Getenv(EnvBin); dir != "" {
		b, err := inspect(ctx, dir)
		if err != nil {
			return nil, fmt.Errorf("%w in %s=%s: %w", ErrNotFound, EnvBin, dir, err)
		}
		return []Binaries{b}, nil
	}

	var found []Binaries
	var unfit []string
	seen := map[string]bool{}
	look := func(dirs []string) {
		from := len(found)
		for _, dir := range dirs {
			// A folder on PATH often has no more than links to the programs.
			if real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil {
				dir = filepath.Dir(real)
			}
			if seen[dir] {
				continue
			}
			seen[dir] = true
			b, err := inspect(ctx, dir)
			switch {
			case err == nil:
				found = append(found, b)
			case !errors.Is(err, os.ErrNotExist):
				unfit = append(unfit, err.Error())
			}
		}
		slices.SortStableFunc(found[from:], func(a, b Binaries) int { return cmp.Compare(b.Major, a.Major) })
	}
	if list, ok := os.LookupEnv(EnvSearch); ok {
		look(expand(filepath.SplitList(list)))
	} else {
		if path, err := exec.LookPath("postgres"); err == nil {
			look([]string{filepath.Dir(path)})
		}
		look(expand(systemPlaces()))
	}
	look(expand(cachePlaces()))
	if len(found) > 0 {
		return found, nil
	}
	why := ""
	if len(unfit) > 0 {
		why = " (" + strings.Join(unfit, "; ") + ")"
	}
	return nil, fmt.Errorf("%w%s: run `make deps`, or install PostgreSQL %d or newer (%s), or name its bin folder in %s, or give --database-url",
		ErrNotFound, why, MinMajor, installHint(), EnvBin)
}

// CacheDir is the private folder in which `make deps` unpacks a PostgreSQL when it can install none for the whole machine; each
// version has a folder of its own there. For root it is a folder that other accounts can read, as the server runs as one of them.
func CacheDir() (string, error) {
	if dir := os.Getenv(EnvCache); dir != "" {
		return filepath.Abs(dir)
	}
	if os.Geteuid() == 0 {
		return rootCache, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder of this user: %w", err)
	}
	return filepath.Join(dir, "haloingest", "postgresql"), nil
}

const rootCache = "/var/cache/haloingest/postgresql"

func cachePlaces() []string {
	places := []string{}
	if dir, err := CacheDir(); err == nil {
		places = append(places, filepath.Join(dir, "*", "bin"))
	}
	if os.Getenv(EnvCache) == "" {
		places = append(places, filepath.Join(rootCache, "*", "bin"))
	}
	return places
}

// systemPlaces are the folders of Debian's packages (which are not on PATH), of Red Hat's community packages, of Homebrew on both
// kinds of Mac, of Postgres.app and of the graphical installer, and of a build from source.
func systemPlaces() []string {
	return []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/opt/homebrew/opt/postgresql/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/Library/PostgreSQL/*/bin",
		"/usr/local/pgsql/bin",
		"/usr/local/bin",
		"/usr/bin",
	}
}

// expand resolves glob patterns to the folders that hold a postgres.
func expand(patterns []string) []string {
	var dirs []string
	for _, pattern := range patterns {
		matches, err := filepath.Glob(filepath.Join(pattern, "postgres"))
		if err != nil { // not a pattern: a folder with an odd name
			matches = []string{filepath.Join(pattern, "postgres")}
		}
		for _, match := range matches {
			dirs = append(dirs, filepath.Dir(match))
		}
	}
	return dirs
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[^\s]*)`)

// inspect asks the postgres in dir for its version. Its error wraps os.ErrNotExist when there is no server there at all, which is
// how a folder with nothing but the client programs looks.
func inspect(ctx context.Context, dir string) (Binaries, error) {
	for _, name := range []string{"postgres", "initdb"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return Binaries{}, err
		}
	}
	program := filepath.Join(dir, "postgres")
	out, err := exec.CommandContext(ctx, program, "--version").CombinedOutput()
	if err != nil {
		return Binaries{}, fmt.Errorf("run %s --version: %w: %s", program, err, firstLine(out))
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return Binaries{}, fmt.Errorf("run %s --version: it says %q", program, firstLine(out))
	}
	major, err := strconv.Atoi(string(m[2]))
	if err != nil {
		return Binaries{}, fmt.Errorf("run %s --version: %w", program, err)
	}
	if major < MinMajor {
		return Binaries{}, fmt.Errorf("%s is version %s, and %d is the oldest that will do", program, m[1], MinMajor)
	}
	return Binaries{Dir: dir, Version: string(m[1]), Major: major}, nil
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func installHint() string {
	if runtime.GOOS == "darwin" {
		return "brew install postgresql@16"
	}
	return "Debian: apt-get install postgresql"
}
