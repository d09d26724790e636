package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// attachOrRun fills in s.pm: with the server that runs, or with the one it starts. The caller holds start.lock.
func (s *Server) attachOrRun(ctx context.Context) error {
	cluster := s.layout.cluster()
	for p := (poll{}); ; {
		pm, ok, err := readPostmaster(cluster)
		if err != nil {
			return fmt.Errorf("read the server's pid file: %w", explain(err, s.layout.dir))
		}
		switch {
		case !ok:
			return s.run(ctx)
		case !serves(ctx, pm.pid, cluster):
			if err := disown(cluster, s.as); err != nil {
				return fmt.Errorf("put right the server's pid file: %w", err)
			}
			return s.run(ctx)
		case pm.status == "stopping": // somebody stopped it by hand
			if err := p.pause(ctx); err != nil {
				return fmt.Errorf("wait for server process %d to stop: %w", pm.pid, err)
			}
		default:
			s.adopted = true
			done, err := s.ready(ctx, pm.pid, 0)
			if done || err != nil {
				return err
			}
		}
	}
}

// run starts a server, after making the cluster where there is none.
func (s *Server) run(ctx context.Context) error {
	s.adopted = false
	all, err := Find(ctx)
	if err != nil {
		return err
	}
	bin, err := s.suitable(all)
	if err != nil {
		return err
	}
	if s.as.other && !s.as.reaches(ctx, "/", filepath.Join(bin.Dir, "postgres")) {
		return fmt.Errorf("account %s, which runs the server in place of root, cannot run %s", s.as.name, filepath.Join(bin.Dir, "postgres"))
	}
	if err := s.initialise(ctx, bin); err != nil {
		return err
	}
	home, err := s.layout.clusterHome()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	if !s.as.reaches(ctx, filepath.Join(home, "cluster"), filepath.Join(bin.Dir, "postgres")) {
		return fmt.Errorf("account %s, which runs the server in place of root, cannot get to %s any more: the permissions of a folder above it have changed",
			s.as.name, home)
	}
	sockets, err := s.layout.socketDir(home, s.as)
	if err != nil {
		return err
	}
	// Between the look and the start the port may have been taken, and what a killed server left running may take its time to end.
	for p, ports := (poll{}), 0; ; {
		again, err := s.spawn(ctx, bin, filepath.Join(home, "cluster"), sockets)
		if errors.Is(err, errPortTaken) {
			ports++
		}
		if !again || ports == 5 {
			return err
		}
		s.opts.Log.Debug("starting the private PostgreSQL once more", "error", err)
		if p.pause(ctx) != nil {
			return err
		}
	}
}

// suitable picks the newest installation, or for an existing cluster the one of its major version, as no other can open it.
func (s *Server) suitable(all []Binaries) (Binaries, error) {
	text, err := os.ReadFile(filepath.Join(s.layout.cluster(), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return all[0], nil
	}
	if err != nil {
		return Binaries{}, fmt.Errorf("read the version of the cluster: %w", explain(err, s.layout.dir))
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return Binaries{}, fmt.Errorf("read the version of the cluster: %w", err)
	}
	found := []string{}
	for _, b := range all {
		if b.Major == major {
			return b, nil
		}
		found = append(found, b.Version+" in "+b.Dir)
	}
	return Binaries{}, fmt.Errorf("the cluster was made by PostgreSQL %d, and this machine has %s: install PostgreSQL %d, or remove %s to begin anew",
		major, strings.Join(found, ", "), major, s.layout.dir)
}

// initialise makes the cluster if there is none. It is made under another name and renamed when it is complete, so that a cluster
// that exists is a cluster that works.
func (s *Server) initialise(ctx context.Context, bin Binaries) error {
	if _, err := os.Stat(filepath.Join(s.layout.cluster(), "PG_VERSION")); err == nil {
		return nil
	}
	if err := os.RemoveAll(s.layout.cluster()); err != nil { // a symlink to where nothing is any more
		return err
	}
	began := time.Now()
	home, err := s.layout.home(ctx, s.as, filepath.Join(bin.Dir, "postgres"))
	if err != nil {
		return err
	}
	made := filepath.Join(home, "cluster.new")
	if err := os.RemoveAll(made); err != nil {
		return err
	}
	if err := os.Mkdir(made, 0o700); err != nil {
		return err
	}
	if err := s.as.give(made); err != nil {
		return err
	}
	secret := filepath.Join(home, "initdb.password")
	if err := writePrivate(secret, s.password+"\n"); err != nil {
		return err
	}
	defer os.Remove(secret)
	if err := s.as.give(secret); err != nil {
		return err
	}
	args := []string{"-D", made, "-U", role, "--pwfile", secret, "--auth-local=scram-sha-256", "--auth-host=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--no-instructions"}
	if s.opts.Throwaway {
		args = append(args, "--no-sync")
	} else {
		args = append(args, "--data-checksums")
	}
	if out, err := s.as.command(ctx, "/", filepath.Join(bin.Dir, "initdb"), args...).CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return errors.Join(fmt.Errorf("make the cluster with %s: %w: %s", filepath.Join(bin.Dir, "initdb"), err,
			strings.Join(lines[max(0, len(lines)-4):], " | ")), os.RemoveAll(made))
	}
	cluster := filepath.Join(home, "cluster")
	if err := os.Rename(made, cluster); err != nil {
		return err
	}
	if home != s.layout.dir {
		if err := os.Symlink(cluster, s.layout.cluster()); err != nil {
			return err
		}
		s.opts.Log.Info("the private PostgreSQL keeps its data outside of the data directory, as its account cannot get there",
			"account", s.as.name, "data_directory", s.layout.dir, "kept_in", home)
	}
	s.opts.Log.Info("made a private PostgreSQL", "version", bin.Version, "in", cluster, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// maxLog is the size in bytes from which a start puts the server's log aside; one old log is kept.
const maxLog = 16 << 20

// spawn starts the server process and waits until it takes connections. again says that the reason it did not may have gone at the
// next try.
func (s *Server) spawn(ctx context.Context, bin Binaries, cluster, sockets string) (again bool, err error) {
	port, err := s.layout.choosePort()
	if err != nil {
		return false, err
	}
	// Leftovers of a server that was killed. The folder is this server's own, and no server runs.
	left, err := os.ReadDir(sockets)
	if err != nil {
		return false, err
	}
	for _, entry := range left {
		if err := os.Remove(filepath.Join(sockets, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	if info, err := os.Stat(s.layout.log()); err == nil && info.Size() > maxLog {
		if err := os.Rename(s.layout.log(), s.layout.log()+".1"); err != nil {
			return false, err
		}
	}
	log, err := os.OpenFile(s.layout.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return false, explain(err, s.layout.dir)
	}
	defer log.Close()
	if err := giveToFolderOwner(s.layout.log()); err != nil {
		return false, err
	}
	info, err := log.Stat()
	if err != nil {
		return false, err
	}

	args := append([]string{"-D", cluster, "-c", "port=" + strconv.Itoa(port), "-c", "unix_socket_directories=" + sockets},
		s.opts.settings(ctx, bin, cluster, s.as)...)
	// The server outlives this process when others use it: no context that would kill it, and nobody waits for it (alive reaps it).
	cmd := s.as.command(context.WithoutCancel(ctx), "/", filepath.Join(bin.Dir, "postgres"), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	pid := cmd.Process.Pid
	if err := cmd.Process.Release(); err != nil {
		return false, err
	}
	s.opts.Log.Debug("started the private PostgreSQL", "version", bin.Version, "pid", pid, "port", port, "log", s.layout.log())
	done, err := s.ready(ctx, pid, info.Size())
	if done {
		return false, nil
	}
	tail := logTail(s.layout.log(), info.Size())
	if err == nil {
		err = errors.New("the server ended while it started")
	} else if endErr := end(context.WithoutCancel(ctx), s.opts, s.layout, pid); endErr != nil {
		err = fmt.Errorf("%w, and then: %w", err, endErr)
	}
	again = ctx.Err() == nil && strings.Contains(tail, "pre-existing shared memory block")
	if strings.Contains(tail, "could not create any TCP/IP sockets") {
		again, err = ctx.Err() == nil, fmt.Errorf("%w: %w", errPortTaken, err)
		if err := os.Remove(s.layout.port()); err != nil { // so that another one is chosen
			return false, err
		}
	}
	return again, fmt.Errorf("%w; its log %s ends: %s", err, s.layout.log(), tail)
}

var errPortTaken = errors.New("the loopback port is taken")

// ready waits until server process pid takes connections, and fills in s.pm. done is false without an error when the process ended
// first.
func (s *Server) ready(ctx context.Context, pid int, logFrom int64) (done bool, err error) {
	for p := (poll{}); ; {
		running := alive(pid)
		pm, ok, err := readPostmaster(s.layout.cluster())
		if err != nil {
			return false, fmt.Errorf("read the server's pid file: %w", err)
		}
		if ok && pm.pid == pid && pm.status == "ready" {
			s.pm = pm
			if err := s.check(ctx); err != nil {
				return false, err
			}
			return true, nil
		}
		if !running || ok && pm.pid == pid && pm.status == "stopping" {
			return false, nil
		}
		if err := p.pause(ctx); err != nil {
			return false, fmt.Errorf("wait for server process %d to be ready: %w", pid, err)
		}
	}
}

// check logs in, makes sure that the server is the one of this cluster, and makes the database if the first start did not get to it.
func (s *Server) check(ctx context.Context) error {
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		return fmt.Errorf("log in to server process %d: %w", s.pm.pid, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var dir string
	var there bool
	err = conn.QueryRow(ctx, "SELECT current_setting('data_directory'), EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).
		Scan(&dir, &there)
	if err != nil {
		return fmt.Errorf("ask server process %d for its data directory: %w", s.pm.pid, err)
	}
	theirs, err1 := os.Stat(dir)
	ours, err2 := os.Stat(s.layout.cluster())
	if err1 != nil || err2 != nil || !os.SameFile(theirs, ours) {
		return fmt.Errorf("server process %d serves %s, not %s", s.pm.pid, dir, s.layout.cluster())
	}
	if there {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{database}.Sanitize()+" TEMPLATE template0"); err != nil {
		return fmt.Errorf("make database %s: %w", database, err)
	}
	return nil
}
