package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom/intercomtest"
)

var update = flag.Bool("update", false, "rewrite what the stories of testdata/script show")

// The stories: what a person at a terminal sees, from the first connect to the last disconnect. Each has
// a database, a data directory and an organisation of its own, and runs the program as a process.
//
// Beside testscript's own commands a story knows:
//
//	sim [name=value ...]      start a simulated workspace; its token is in $WORK/token (see simSettings)
//	change JSON               change the workspace; prints the ids concerned (intercomtest.Change)
//	faults SPEC               let its replies go wrong (intercomtest.ParseFaults); without SPEC, heal it
//	model MOOD                start an OpenAI-compatible endpoint, or change its mood: good, junk, liar, down
//	asked N M [TEXT ...]      it was asked for N answers and M vectors (-: any number) since the last time, and was sent none of the texts
//	damage KIND ID FIELD JSON replace a field of an object in every reply; "mend" ends that
//	haloingest ARG ...        run the program, which has to end with code 0
//	exits N haloingest ARG .. the same with another code
//	start NAME haloingest ..  run it in the background; signal NAME INT|TERM|KILL [again]; ends NAME N
//	asks NAME ENDPOINT        wait until it has sent such a request since it was started
//	says NAME TEXT            wait until that is on its stderr
//	sql QUERY                 print rows, columns divided by " | "
//	is QUERY WANT             compare the one value that a query gives
//	let NAME QUERY            keep it in a variable
//	until QUERY               wait until it gives true
//	remember NAME [TABLE ..]  keep all rows of the tables, of all tables if none are named
//	unchanged NAME            compare them: not a row may have been written
//	nothing-stored            no row is in any table
//	cluster start|stop|kill   a PostgreSQL server of the story's own, which becomes the database
//	badpassword NAME          its address with a wrong password
//	secret NAME FILE          keep a line in a variable; it must not be shown from then on
//	tidy                      write the output into the file tidy, without what differs from run to run
//	no-writes                 Intercom was asked for nothing but reading
//
// After every command of the program its output is searched for secrets and for traces of a panic, its
// errors have to be one line, and with --json its output one JSON value.
func TestStories(t *testing.T) {
	if _, err := os.Stat("../../testdata/script"); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		Setup:               setUpStory,
		Cmds:                storyCommands,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

const otherOrg = "bbbbbbbb-0000-4000-8000-000000000002"

// story is what the commands of one script share.
type story struct {
	tb         testing.TB
	dir        string
	self       string
	sims       map[string]*shop
	last       string // the simulator that commands speak to
	cluster    *pgtest.Cluster
	background map[string]*process
	memory     map[string]map[string][]string
	secrets    map[string]string // what must not be shown, and what it is
	model      *modelService     // nil until the story has one
}

type storyKey struct{}

func setUpStory(env *testscript.Env) error {
	tb, ok := env.T().(testing.TB)
	if !ok {
		return fmt.Errorf("%T is no testing.TB", env.T())
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s := &story{
		tb: tb, dir: env.WorkDir, self: self, sims: map[string]*shop{}, background: map[string]*process{},
		memory: map[string]map[string][]string{}, secrets: map[string]string{},
	}
	env.Values[storyKey{}] = s
	bin := filepath.Join(env.WorkDir, ".bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(self, filepath.Join(bin, "haloingest")); err != nil {
		return err
	}
	env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
	env.Setenv(asProgram, "1")
	env.Setenv("ORG", testOrg)
	env.Setenv("OTHER", otherOrg)
	env.Setenv("HALOINGEST_DATABASE_URL", pgtest.New(tb))
	env.Setenv("HALOINGEST_DATA_DIR", filepath.Join(env.WorkDir, "data"))
	env.Setenv("HALOINGEST_SCROLL_WAIT", "1s")
	s.hideDatabase(env.Getenv("HALOINGEST_DATABASE_URL"))
	env.Defer(func() {
		for _, p := range s.background {
			p.kill()
		}
	})
	return nil
}

func storyOf(ts *testscript.TestScript) *story {
	s, ok := ts.Value(storyKey{}).(*story)
	if !ok {
		ts.Fatalf("the story was not set up")
	}
	return s
}

// sim is the simulated workspace that commands speak to.
func (s *story) sim(ts *testscript.TestScript) *shop {
	if s.last == "" {
		ts.Fatalf("start one with sim")
	}
	return s.sims[s.last]
}

// simSettings are the settings of sim: those of intercomtest.Options that stories want.
func simSettings(args []string) (name string, o intercomtest.Options, err error) {
	name = "sim"
	o = intercomtest.Options{
		Seed: 3, Conversations: 40, Contacts: 30, Companies: 6, Tickets: 12, Oddities: -1,
		ScrollIdle: time.Second, // as if a minute had passed by the time the next attempt asks
		Timezone:   "UTC",
	}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return "", o, fmt.Errorf("sim: %q is not name=value", arg)
		}
		number := func(n *int) { _, err = fmt.Sscan(value, n) }
		switch key {
		case "name":
			name = value
		case "seed":
			_, err = fmt.Sscan(value, &o.Seed)
		case "conversations":
			number(&o.Conversations)
		case "contacts":
			number(&o.Contacts)
		case "companies":
			number(&o.Companies)
		case "tickets":
			number(&o.Tickets)
		case "oddities":
			number(&o.Oddities)
		case "rate-limit":
			number(&o.RateLimit)
		case "scope-status":
			number(&o.ScopeStatus)
		case "scope-code":
			o.ScopeCode = value
		case "scopes":
			o.Scopes, err = intercomtest.ParseScope(value)
		case "latency":
			o.Latency, err = time.ParseDuration(value)
		case "region":
			o.Region = value
		case "timezone":
			o.Timezone = value
		case "app":
			o.NoApp = value == "none"
		case "token":
			o.Token = value
		case "files":
			o.Files = value == "served"
		case "file-size":
			number(&o.FileSize)
		default:
			err = fmt.Errorf("there is no such setting")
		}
		if err != nil {
			return "", o, fmt.Errorf("sim: %s: %w", arg, err)
		}
	}
	if o.RateLimit == 0 {
		// Changes to one object are a second apart at least; a minute's start keeps them out of the future.
		o.Now = func() time.Time { return time.Now().Add(-time.Minute) }
	}
	return name, o, nil
}

// waitMoreThanWork lets more stories run at once than there are processors, since they mostly wait.
func waitMoreThanWork() {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(max(6, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
}

// shortly is a context for what a story's command does itself.
func shortly() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}
