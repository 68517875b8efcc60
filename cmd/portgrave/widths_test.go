package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// screen80 runs a command of scripts on a terminal of 80 columns, and prints each line that is
// wider. Its exit code is not the command's.
func screen80() {
	wide, err := widerLines(exec.Command(os.Args[1], os.Args[2:]...), minColumns)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, line := range wide {
		fmt.Printf("%d columns: %s\n", utf8.RuneCountInString(line), line)
	}
}

// widerLines runs a command on a terminal of some columns, and returns the lines that it printed
// and that are wider.
func widerLines(cmd *exec.Cmd, columns int) (wide []string, err error) {
	master, slave, err := openTerminal(columns)
	if err != nil {
		return nil, err
	}
	defer func() { _ = master.Close() }()
	cmd.Stdout, cmd.Stderr = slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = slave.Close()
	if err != nil {
		return nil, err
	}
	printed := 0
	text, err := io.ReadAll(bufio.NewReader(master))
	if pathErr, ok := err.(*os.PathError); !ok || pathErr.Err != unix.EIO { // the command has ended
		return nil, fmt.Errorf("reading the terminal: %w", err)
	}
	_ = cmd.Wait()
	for line := range strings.SplitSeq(string(text), "\n") {
		// Progress is overwritten; what stands at the end of a line is what a person sees.
		line = strings.TrimRight(line, "\r")
		line = colourCode.ReplaceAllString(line[strings.LastIndexByte(line, '\r')+1:], "")
		line = strings.ReplaceAll(line, "\x1b[K", "")
		printed += len(line)
		if utf8.RuneCountInString(line) > columns {
			wide = append(wide, line)
		}
	}
	if printed == 0 {
		return nil, fmt.Errorf("%s printed nothing on its terminal", strings.Join(cmd.Args, " "))
	}
	return wide, nil
}

// openTerminal makes a terminal of some columns, and returns both of its ends (pty(7)).
func openTerminal(columns int) (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ,
			&unix.Winsize{Row: 24, Col: uint16(columns)})
	}
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		_ = master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}
