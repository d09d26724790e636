package parquet

import (
	"bytes"
	"context"
	"io"
	"strings"
)

// WriteManifest writes the manifest of a run in place of its last one, as the version that this program writes. With seal, the snapshot is
// encrypted: the names that people have given to things, and their own, are encrypted too, under a key of their own.
func WriteManifest(ctx context.Context, store Store, seal SealFunc, m Manifest) error {
	m.Version, m.Schema, m.Digest = versionFirst, SchemaVersion, digestVersion
	if seal != nil {
		if err := m.seal(seal); err != nil {
			return err
		}
	}
	if m.Sealed != nil {
		m.Version = versionSealed
	}
	if m.Files == nil {
		m.Files = []FileInfo{}
	}
	raw, err := m.Encode()
	if err != nil {
		return err
	}
	return store.Put(ctx, ManifestPath(m.Org, m.Run), func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(raw))
		return err
	})
}

// Sweep removes what earlier attempts of the run have left and never committed: segments that named does not know and unfinished files,
// that of its manifest among them. It returns how many. What belongs to other runs, or to nothing that this package writes, stays. named
// returns the paths of all committed files of the run; it is asked after the folders were listed, so a file that another runner
// commits meanwhile is never taken for garbage.
func Sweep(ctx context.Context, to Target, named func(context.Context) (map[string]bool, error)) (int, error) {
	var found []Entry
	for _, folder := range []string{Folder(LayerPages, to.Org, to.Run), Folder(LayerRows, to.Org, to.Run), ManifestFolder(to.Org)} {
		list, err := to.Store.List(ctx, folder)
		if err != nil {
			return 0, err
		}
		found = append(found, list...)
	}
	committed, err := named(ctx)
	if err != nil {
		return 0, err
	}
	swept := 0
	for _, e := range found {
		if committed[e.Path] || !to.left(e) {
			continue
		}
		if err := to.Store.Delete(ctx, e.Path); err != nil {
			return swept, err
		}
		swept++
	}
	return swept, nil
}

// left reports whether an earlier attempt of this run has left the file.
func (t Target) left(e Entry) bool {
	path := e.Path
	if e.Temp {
		var ok bool
		if path, ok = finished(path); !ok {
			return false
		}
		if path == ManifestPath(t.Org, t.Run) {
			return true
		}
	}
	n, ok := ParsePath(path)
	return ok && n.Org == t.Org && n.Run == t.Run && n.Attempt < t.Attempt
}

// finished returns the path that an unfinished file was to have.
func finished(path string) (string, bool) {
	at := strings.LastIndexByte(path, '/') + 1
	name, ok := strings.CutPrefix(path[at:], tempMark)
	end := strings.LastIndexByte(name, '-')
	if !ok || end < 0 {
		return "", false
	}
	return path[:at] + name[:end], true
}
