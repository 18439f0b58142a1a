//! Real messages from outside the repository, where there are any: the folder that `PILLARBOX_CORPUS` names.

use super::*;

#[test]
fn the_corpus_holds() {
    let Some(folder) = std::env::var_os("PILLARBOX_CORPUS") else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let message = std::fs::read(&path).unwrap();
        println!("{}", path.display());
        check(&message);
        let needle = Needle::new("the");
        let keys = [TextScope::Body, TextScope::Text].map(|scope| TextKey { needle: &needle, scope });
        let structure = Structure::parse(&message);
        let whole = TextSearch::run(&structure, &keys, &message);
        let mut search = TextSearch::new(&structure, &keys);
        let mut parser = StructureParser::new();
        for piece in message.chunks(113) {
            search.push(piece);
            parser.push(piece);
        }
        assert_eq!(search.finish(), whole);
        assert_eq!(parser.finish(), structure);
        count += 1;
    }
    assert!(count > 0, "PILLARBOX_CORPUS names a folder without messages");
}
