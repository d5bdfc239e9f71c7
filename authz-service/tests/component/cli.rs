//! The command line, pinned: help, exit codes, and what is said about bad input.

use std::process::Command;

#[test]
fn help_and_exit_codes_are_as_pinned() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}

#[test]
fn bad_configuration_exits_2_with_file_line_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("authz-service.yaml");
    let sample = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/config/authz-service.yaml"
    ))
    .unwrap();
    std::fs::write(
        &file,
        sample.replacen("replica: authz-1", "replica: authz_1", 1),
    )
    .unwrap();
    for command in ["run", "check"] {
        let output = Command::new(env!("CARGO_BIN_EXE_authz-service"))
            .arg(command)
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.starts_with(&format!(
                "authz-service: {}:8:10: `authz_1` is not a replica name",
                file.display()
            )),
            "{said}"
        );
    }
}
