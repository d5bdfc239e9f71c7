//! The record file: one JSON document a line, written behind a bounded queue so that no disk can hold up a decision.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

/// The writing end. Cheap to share; the file is closed when the last one is dropped.
#[derive(Clone, Debug)]
pub struct RecordLog {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl RecordLog {
    /// Opens the file for appending, 0600, and starts its writer thread.
    ///
    /// # Errors
    /// The file cannot be opened for writing, or no thread can be made.
    pub fn open(file: &Path, max_bytes: u64) -> io::Result<Self> {
        let (queue, messages) = mpsc::sync_channel(QUEUE_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer::open(file.to_owned(), max_bytes, Arc::clone(&lost))?;
        std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || writer.run(&messages))?;
        Ok(Self { queue, lost })
    }

    /// Queues one line. When the queue is full the line is lost and counted: a decision never waits for a disk.
    pub fn write(&self, line: Vec<u8>) {
        match self.queue.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.count_lost(),
        }
    }

    /// Counts a line that could not be written at all.
    pub fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until everything queued so far is in the file, at most `FLUSH_PATIENCE`.
    pub fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            match wait.recv_timeout(FLUSH_PATIENCE) {
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    /// Lines that never reached the file.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The newest line whose first field is this id, from the file or from the one set aside before it.
///
/// # Errors
/// The file is there but cannot be read.
pub fn find(file: &Path, id: &str) -> io::Result<Option<String>> {
    let prefix = format!("{{\"id\":\"{id}\"");
    for path in [file.to_owned(), set_aside(file)] {
        let lines = match File::open(&path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Some(found) = newest_with(lines, prefix.as_bytes())? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn newest_with(mut lines: impl BufRead, prefix: &[u8]) -> io::Result<Option<String>> {
    let mut newest = None;
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        if line.starts_with(prefix) {
            newest = String::from_utf8(line.clone()).ok();
        }
        line.clear();
    }
    Ok(newest)
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

struct Writer {
    path: PathBuf,
    max_bytes: u64,
    written: u64,
    file: BufWriter<File>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn open(path: PathBuf, max_bytes: u64, lost: Arc<AtomicU64>) -> io::Result<Self> {
        let file = append(&path)?;
        let written = file.metadata()?.len();
        Ok(Self {
            path,
            max_bytes,
            written,
            file: BufWriter::new(file),
            lost,
        })
    }

    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            self.on_message(message);
            // Whatever is queued goes out in one write; an idle queue leaves nothing behind in memory.
            while let Ok(message) = messages.try_recv() {
                self.on_message(message);
            }
            self.flush();
        }
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Line(line) => self.line(&line),
            Message::Flush(done) => {
                self.flush();
                // Whoever waited may have given up.
                done.try_send(()).unwrap_or_default();
            }
        }
    }

    fn line(&mut self, line: &[u8]) {
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.written.saturating_add(bytes) > self.max_bytes && self.written > 0 {
            self.set_aside();
        }
        match self.file.write_all(line) {
            Ok(()) => self.written = self.written.saturating_add(bytes),
            Err(_full_or_gone) => self.count_lost(),
        }
    }

    fn set_aside(&mut self) {
        self.flush();
        let fresh =
            std::fs::rename(&self.path, set_aside(&self.path)).and_then(|()| append(&self.path));
        match fresh {
            Ok(file) => {
                self.file = BufWriter::new(file);
                self.written = 0;
            }
            // The old file goes on growing: better than no record.
            Err(_cannot_set_aside) => self.count_lost(),
        }
    }

    fn flush(&mut self) {
        if self.file.flush().is_err() {
            self.count_lost();
        }
    }

    fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn set_aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// 8 192 lines // some 10 MB: a second of full load while the disk stalls.
const QUEUE_LINES: usize = 8192;

/// 2 s // a disk slower than that is treated as gone.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, rest: &str) -> Vec<u8> {
        format!("{{\"id\":\"{id}\",\"note\":\"{rest}\"}}\n").into_bytes()
    }

    #[test]
    fn flushed_line_is_found_by_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("records.jsonl");
        let log = RecordLog::open(&file, 1 << 20).unwrap();
        log.write(line("a", "first"));
        log.write(line("b", "other"));
        log.write(line("a", "second"));
        log.flush();
        assert!(find(&file, "a").unwrap().unwrap().contains("second"));
        assert_eq!(find(&file, "c").unwrap(), None);
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn full_file_is_set_aside_and_still_searched() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("records.jsonl");
        let log = RecordLog::open(&file, 64).unwrap();
        log.write(line("a", "0123456789012345678901234567890123456789"));
        log.write(line("b", "0123456789012345678901234567890123456789"));
        log.flush();
        assert!(
            std::fs::read_to_string(&file)
                .unwrap()
                .starts_with("{\"id\":\"b\"")
        );
        assert!(find(&file, "a").unwrap().is_some());
    }

    #[test]
    fn reopened_file_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("records.jsonl");
        for id in ["a", "b"] {
            let log = RecordLog::open(&file, 1 << 20).unwrap();
            log.write(line(id, ""));
            log.flush();
        }
        assert!(find(&file, "a").unwrap().is_some());
        assert!(find(&file, "b").unwrap().is_some());
    }

    #[test]
    fn full_disk_is_counted_and_blocks_nothing() {
        let log = RecordLog::open(Path::new("/dev/full"), u64::MAX).unwrap();
        log.write(line("a", ""));
        log.flush();
        assert!(log.lost() > 0);
    }

    #[test]
    fn missing_file_holds_no_record() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(&dir.path().join("none"), "a").unwrap(), None);
    }
}
