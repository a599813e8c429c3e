// An ordinary program of Go's eBPF library: it makes its system calls itself.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/perf"
	"github.com/cilium/ebpf/ringbuf"
)

const packets = 500

func check(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func load(path string) *ebpf.Collection {
	coll, err := ebpf.LoadCollection(path)
	check(err, path)
	return coll
}

func run(prog *ebpf.Program, count int) {
	packet := make([]byte, 64)
	for i := 0; i < count; i++ {
		ret, _, err := prog.Test(packet)
		check(err, "test run")
		if ret != 2 {
			check(fmt.Errorf("%d", ret), "test run returned")
		}
	}
}

// Reads while packets run: number and magic of each event are in a row.
func perfEvents(coll *ebpf.Collection) {
	rd, err := perf.NewReader(coll.Maps["events"], 8192)
	check(err, "perf.NewReader")
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		for i := uint64(0); i < packets; i++ {
			rec, err := rd.Read()
			check(err, "perf read")
			if rec.LostSamples != 0 || binary.LittleEndian.Uint64(rec.RawSample) != i ||
				binary.LittleEndian.Uint32(rec.RawSample[8:]) != 0x51c2e {
				check(fmt.Errorf("%v", rec), "event")
			}
		}
	}()
	for i := 0; i < packets/20; i++ {
		run(coll.Programs["count"], 20)
		time.Sleep(2 * time.Millisecond)
	}
	done.Wait()
	check(rd.Close(), "close")
}

func ringRecords(coll *ebpf.Collection) {
	rd, err := ringbuf.NewReader(coll.Maps["records"])
	check(err, "ringbuf.NewReader")
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		for i := uint64(0); i < packets; i++ {
			rec, err := rd.Read()
			check(err, "ring read")
			if binary.LittleEndian.Uint64(rec.RawSample) != i {
				check(fmt.Errorf("%v", rec), "record")
			}
		}
	}()
	for i := 0; i < packets/20; i++ {
		run(coll.Programs["send"], 20)
		time.Sleep(2 * time.Millisecond)
	}
	done.Wait()
	check(rd.Close(), "close")
}

// Goroutines at one map, from as many threads as Go likes.
func together(coll *ebpf.Collection) {
	counts := coll.Maps["counts"]
	var done sync.WaitGroup
	for g := uint32(0); g < 3; g++ {
		done.Add(1)
		go func(key uint32) {
			defer done.Done()
			if key == 1 {
				key = 3
			}
			for i := uint64(0); i < 300; i++ {
				var got uint64
				check(counts.Put(key, i), "put")
				check(counts.Lookup(key, &got), "lookup")
				if got != i {
					check(fmt.Errorf("%d, not %d", got, i), "lookup")
				}
			}
		}(g)
	}
	done.Wait()
}

func pins(coll *ebpf.Collection, dir string) {
	check(os.MkdirAll(dir, 0o700), "mkdir")
	check(os.MkdirAll(dir, 0o700), "mkdir again")
	path := filepath.Join(dir, "counts")
	check(coll.Maps["counts"].Pin(path), "pin")
	m, err := ebpf.LoadPinnedMap(path, nil)
	check(err, "load pinned")
	var got uint64
	check(m.Lookup(uint32(1), &got), "lookup in the pinned map")
	if got != packets {
		check(fmt.Errorf("%d", got), "packets counted")
	}
	check(coll.Maps["counts"].Unpin(), "unpin")
	if _, err := ebpf.LoadPinnedMap(path, nil); !errors.Is(err, os.ErrNotExist) {
		check(fmt.Errorf("%v", err), "after unpinning")
	}
	check(os.Remove(dir), "rmdir")
}

// By a link, to an interface that Go looks up.
func attach(coll *ebpf.Collection, name string) {
	iface, err := net.InterfaceByName(name)
	check(err, name)
	l, err := link.AttachXDP(link.XDPOptions{Program: coll.Programs["count"], Interface: iface.Index})
	check(err, "attach")
	info, err := l.Info()
	check(err, "link info")
	if info.XDP().Ifindex != uint32(iface.Index) {
		check(fmt.Errorf("%d", info.XDP().Ifindex), "link's interface")
	}
	if _, err := link.AttachXDP(link.XDPOptions{Program: coll.Programs["count"], Interface: iface.Index}); err == nil {
		check(errors.New("attached"), "attach again")
	}
	check(l.Close(), "close link")
}

func main() {
	events := load(os.Args[1])
	perfEvents(events)
	records := load(os.Args[2])
	ringRecords(records)
	together(events)
	if len(os.Args) > 3 {
		pins(events, os.Args[3])
	}
	if len(os.Args) > 4 {
		attach(events, os.Args[4])
	}
	info, err := events.Maps["counts"].Info()
	check(err, "info")
	fmt.Printf("events %d records %d map %s\n", packets, packets, info.Name)
}
