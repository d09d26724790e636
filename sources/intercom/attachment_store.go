package intercom

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"syscall"
)

// ErrFolder is a folder of attachments that cannot be made, written or read: a full or missing disk, mostly.
var ErrFolder = errors.New("keep attachments")

// fileStore keeps files by the hash of their content:
//
//	files/ab/abcd…       the content; the name is its SHA-256
//	links/01/0123….json  which content an address led to; the name is the SHA-256 of the address
//	tmp/ORG/…            what is being downloaded
//
// A file is there whole or not at all, and it is there for good before its link is. Names that Intercom gives are content of
// links, never names of files. Runs of several organisations may share the folder; an organisation has one at a time.
// Safe for concurrent use.
type fileStore struct {
	root *os.Root
	dir  string // its name, for errors
	tmp  string // of this organisation
}

// folderError says which folder failed and what is needed of it.
func folderError(dir string, err error) error {
	return fmt.Errorf("%w in %s: %w; it has to be a folder that this user may write to, with room for the files", ErrFolder, dir, err)
}

// kept is what a link says.
type kept struct {
	URL         string `json:"url"` // without its signed query
	SHA256      string `json:"sha256"`
	Bytes       int64  `json:"bytes"`
	ContentType string `json:"content_type,omitempty"`
	Error       string `json:"error,omitempty"` // what is odd about it
}

// openStore makes the folder if need be, and sweeps what an earlier run was downloading when it died.
func openStore(dir, org string) (*fileStore, error) {
	fail := func(err error) (*fileStore, error) { return nil, folderError(dir, err) }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fail(err)
	}
	s := &fileStore{root: root, dir: dir, tmp: path.Join("tmp", org)}
	err = root.RemoveAll(s.tmp)
	for _, name := range []string{"files", "links", s.tmp} {
		if err == nil {
			err = root.MkdirAll(name, 0o700)
		}
	}
	if err != nil {
		return fail(errors.Join(err, root.Close()))
	}
	return s, nil
}

func (s *fileStore) close() error { return s.root.Close() }

func contentPath(sum string) string { return path.Join("files", sum[:2], sum) }

func linkPath(url string) string {
	sum := sha256.Sum256([]byte(url))
	name := hex.EncodeToString(sum[:])
	return path.Join("links", name[:2], name+".json")
}

// lookup finds the content that an address led to, reads it, and reports whether it is what it was. Anything else counts as
// not there.
func (s *fileStore) lookup(url string) (kept, bool) {
	raw, err := s.root.ReadFile(linkPath(url))
	var k kept
	if err != nil || json.Unmarshal(raw, &k) != nil || k.URL != url || len(k.SHA256) != 2*sha256.Size || !isHex(k.SHA256) {
		return kept{}, false
	}
	f, err := s.root.Open(contentPath(k.SHA256))
	if err != nil {
		return kept{}, false
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, k.Bytes+1))
	return k, err == nil && n == k.Bytes && hex.EncodeToString(h.Sum(nil)) == k.SHA256
}

func isHex(s string) bool {
	for _, b := range []byte(s) {
		if (b < '0' || b > '9') && (b < 'a' || b > 'f') {
			return false
		}
	}
	return true
}

// partial is a file on its way into the store. Close it in any case.
type partial struct {
	store *fileStore
	file  *os.File
	name  string // "" once it is gone from where it was
	hash  hash.Hash
	bytes int64
}

func (s *fileStore) create() (*partial, error) {
	var random [12]byte
	_, _ = rand.Read(random[:]) // never fails
	name := path.Join(s.tmp, hex.EncodeToString(random[:]))
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, folderError(s.dir, err)
	}
	return &partial{store: s, file: f, name: name, hash: sha256.New()}, nil
}

func (p *partial) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.hash.Write(b[:n])
	p.bytes += int64(n)
	if err != nil {
		return n, folderError(p.store.dir, err)
	}
	return n, nil
}

func (p *partial) sum() string { return hex.EncodeToString(p.hash.Sum(nil)) }

// Close removes what was not kept.
func (p *partial) Close() {
	if p.name == "" {
		return
	}
	_ = p.file.Close() // nothing in it is needed
	_ = p.store.root.Remove(p.name)
	p.name = ""
}

// keep makes the file part of the store, and its link after it. Both survive a crash of the program, and the file one of the machine; a
// link that does not is made again.
func (p *partial) keep(k kept) error {
	k.SHA256, k.Bytes = p.sum(), p.bytes
	if err := errors.Join(p.file.Sync(), p.file.Close()); err != nil {
		return folderError(p.store.dir, err)
	}
	err := p.store.place(p.name, contentPath(k.SHA256), true)
	if err == nil {
		p.name = ""
		err = p.store.link(k)
	}
	if err != nil {
		return folderError(p.store.dir, err)
	}
	return nil
}

// link notes which content an address led to.
func (s *fileStore) link(k kept) error {
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	p, err := s.create()
	if err != nil {
		return err
	}
	defer p.Close()
	if _, err := p.Write(append(raw, '\n')); err != nil {
		return err
	}
	if err := p.file.Close(); err != nil {
		return err
	}
	if err := s.place(p.name, linkPath(k.URL), false); err != nil {
		return err
	}
	p.name = ""
	return nil
}

// place renames a file to where it belongs; durable waits until that cannot be lost any more.
func (s *fileStore) place(from, to string, durable bool) error {
	folder := path.Dir(to)
	err := s.root.Mkdir(folder, 0o700)
	made := err == nil
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := s.root.Rename(from, to); err != nil || !durable {
		return err
	}
	if err := s.sync(folder); err != nil || !made {
		return err
	}
	return s.sync(path.Dir(folder))
}

func (s *fileStore) sync(folder string) error {
	f, err := s.root.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	// Some file systems know no such thing as to sync a folder.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
